"""The names that the engine serves: aliases, and LoRA adapters that come and go."""

from typing import Any

import pytest

from fairlead_engine.mock.settings import Settings

CHAT = "/v1/chat/completions"
HELLO = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5}


@pytest.fixture
def lora_mock(start_mock: Any) -> Any:
    return start_mock(Settings(served_model_names=("base", "alias"), lora_modules={"sql": "/adapters/sql"}))


async def names(mock: Any) -> list[str]:
    return [card["id"] for card in (await mock.get("/v1/models"))[1]["data"]]


async def post(mock: Any, path: str, body: dict[str, Any]) -> tuple[int, str]:
    async with mock.session() as session, session.post(path, json=body) as response:
        return response.status, await response.text()


async def test_adapters_are_listed_below_their_base(lora_mock: Any) -> None:
    _, models = await lora_mock.get("/v1/models")
    assert [(card["id"], card["root"], card["parent"]) for card in models["data"]] == [
        ("base", "base", None),
        ("alias", "base", None),
        ("sql", "/adapters/sql", "base"),
    ]


@pytest.mark.parametrize(("asked", "shown"), [("base", "base"), ("alias", "base"), (None, "base"), ("sql", "sql")])
async def test_a_response_names_the_model_or_the_adapter(lora_mock: Any, asked: str | None, shown: str) -> None:
    _, answer = await lora_mock.post(CHAT, HELLO | ({} if asked is None else {"model": asked}))
    assert answer["model"] == shown


async def test_an_adapter_can_be_loaded_used_and_unloaded(lora_mock: Any) -> None:
    adapter = {"lora_name": "law", "lora_path": "/adapters/law"}
    loaded = await post(lora_mock, "/v1/load_lora_adapter", adapter)
    assert loaded == (200, "Success: LoRA adapter 'law' added successfully.")
    assert "law" in await names(lora_mock)
    assert (await lora_mock.post(CHAT, HELLO | {"model": "law"}))[0] == 200
    unloaded = await post(lora_mock, "/v1/unload_lora_adapter", {"lora_name": "law"})
    assert unloaded == (200, "Success: LoRA adapter 'law' removed successfully.")
    assert "law" not in await names(lora_mock)
    assert (await lora_mock.post(CHAT, HELLO | {"model": "law"}))[0] == 404


async def test_an_adapter_is_loaded_twice_only_in_place(lora_mock: Any) -> None:
    again = {"lora_name": "sql", "lora_path": "/adapters/sql2"}
    status, text = await post(lora_mock, "/v1/load_lora_adapter", again)
    assert status == 400
    assert "has been loaded" in text
    assert (await post(lora_mock, "/v1/load_lora_adapter", again | {"load_inplace": True}))[0] == 200


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("load", {"lora_name": "base", "lora_path": "/x"}, 400, "is the name of a served model"),
        ("load", {"lora_name": "", "lora_path": "/x"}, 400, "must not be empty"),
        ("load", {"lora_name": "x"}, 400, "body.lora_path"),
        ("unload", {"lora_name": "x"}, 404, "There is no adapter 'x'"),
    ],
)
async def test_an_adapter_that_cannot_be_had_is_refused(
    lora_mock: Any, path: str, body: dict[str, str], status: int, message: str
) -> None:
    given, answer = await lora_mock.post(f"/v1/{path}_lora_adapter", body)
    assert given == status
    assert message in answer["error"]["message"]
