"""The priority of a class, as an engine is told it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_router.config import Engine, RouterConfig, ServiceClass
from fairlead_router.relay.engine_priority import with_priority
from fairlead_router.settings import engine_priorities

CLASSES = (ServiceClass(name="interactive", priority=100), ServiceClass(name="batch", priority=-5, default=True))


@pytest.mark.parametrize(
    ("order", "told"),
    [
        ("none", {}),
        ("lower-first", {"interactive": -100, "batch": 5}),
        ("higher-first", {"interactive": 100, "batch": -5}),
    ],
)
def test_the_sign_is_the_engine_s(order, told):
    assert engine_priorities(RouterConfig(classes=CLASSES, engine=Engine(priority=order))) == told


values = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3))


@given(
    st.dictionaries(st.text(), values, max_size=4),
    st.integers(-1000, 1000),
    st.sampled_from(["", " ", "\n\t"]),
    st.booleans(),
)
def test_a_request_keeps_everything_but_its_own_priority(fields, priority, blanks, indented):
    body = (json.dumps(fields, indent=1 if indented else None) + blanks).encode()
    assert json.loads(with_priority(body, priority)) == {**fields, "priority": priority}


@pytest.mark.parametrize(
    ("path", "seen"),
    [("/v1/chat/completions", -100), ("/v1/completions", -100), ("/v1/embeddings", 7), ("/v1/messages", 7)],
)
async def test_generations_carry_the_priority_of_their_class_whatever_the_client_says(engine, router, kit, path, seen):
    scripted = await engine(kit.answers(kit.whole(b"{}")))
    running = await router([scripted], RouterConfig(classes=CLASSES, engine=Engine(priority="lower-first")))
    await running.asked(path=path, body={"model": "m", "priority": 7}, headers={"x-slo-class": "interactive"})
    [request] = scripted.requests
    assert json.loads(request.body)["priority"] == seen


async def test_an_engine_that_knows_no_priorities_is_told_none(engine, router, kit):
    scripted = await engine(kit.answers(kit.whole(b"{}")))
    running = await router([scripted], RouterConfig(classes=CLASSES))
    await running.asked(body={"model": "m"}, headers={"x-slo-class": "interactive"})
    assert "priority" not in json.loads(scripted.requests[0].body)
