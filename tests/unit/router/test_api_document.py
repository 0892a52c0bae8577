"""The OpenAPI document of the data port names everything that the port answers."""

import pytest

from fairlead_router.relay.routes import ROUTES


async def document_of(running) -> dict:
    async with running.session.get(running.url + "/openapi.json") as answer:
        return await answer.json()


async def test_the_document_has_the_relayed_paths_and_those_of_the_router_itself(router):
    paths = (await document_of(await router()))["paths"]
    assert set(paths) == {*ROUTES, "/v1/models", "/v1/models/{name}", "/health", "/ready"}


async def test_a_body_that_needs_a_model_says_so(router):
    paths = (await document_of(await router()))["paths"]
    schema = paths["/v1/chat/completions"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert schema["required"] == ["model"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", "/v1/completions", "POST"), ("POST", "/v1/models", "GET"), ("DELETE", "/health", "GET")],
)
async def test_a_method_that_will_not_do_is_answered_with_those_that_would(router, method, path, allowed):
    running = await router()
    async with running.session.request(method, running.url + path) as answer:
        assert (answer.status, answer.headers["allow"]) == (405, allowed)
