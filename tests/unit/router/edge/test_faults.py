"""A fault of the router itself is logged with its traceback and answered; it never just closes a connection."""

import asyncio
import json

import pytest
from wire import Client, get, post

from fairlead_router.deadlines import Deadlines
from fairlead_router.edge.edge import Edge
from fairlead_router.edge.protocol import EdgeProtocol
from fairlead_router.http1 import requests as http1_requests
from fairlead_router.relay.inbound import JsonRequest

CHAT = post("/v1/chat/completions")


def faulty(*_: object, **__: object) -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("owner", "name", "request_"),
    [
        pytest.param(http1_requests, "_check", CHAT, id="in a callback of the parser, hot"),
        pytest.param(http1_requests, "_check", get(), id="in a callback of the parser, cold"),
        pytest.param(Edge, "_route", CHAT, id="on the way in"),
        pytest.param(JsonRequest, "body", CHAT, id="in a body"),
        pytest.param(JsonRequest, "body_end", CHAT, id="behind a body"),
    ],
)
async def test_a_fault_is_logged_and_answered(engine, router, kit, monkeypatch, caplog, owner, name, request_):
    running = await router([await engine(kit.answers(kit.whole(b"{}")))])
    async with Client.connected(running.url) as client, Client.connected(running.url) as other:
        with monkeypatch.context() as broken:
            broken.setattr(owner, name, faulty)
            answer = await client.asked(request_)
        assert (answer.status, json.loads(answer.body)["error"]["code"]) == (500, "internal_error")
        assert (await other.asked(CHAT)).status == 200
    assert "ZeroDivisionError" in caplog.text
    assert running.in_flight == 0


async def test_a_fault_in_the_app_is_logged_and_answered_and_its_connection_goes_on(router, monkeypatch, caplog):
    running = await router()
    async with Client.connected(running.url) as client:
        with monkeypatch.context() as broken:
            broken.setattr(running.router, "not_ready_because", faulty)
            assert (await client.asked(get("/ready"))).status == 500
        assert (await client.asked(get("/ready"))).status == 200
    assert "ZeroDivisionError" in caplog.text


async def test_a_fault_at_one_deadline_leaves_all_other_deadlines_in_force(caplog):
    class Faulty:
        deadline = 0.0

        def expired(self, now: float) -> None:
            raise ZeroDivisionError

    class Sound:
        deadline = 0.0
        times = 0

        def expired(self, now: float) -> None:
            self.times += 1

    deadlines, sound = Deadlines(), [Sound() for _ in range(20)]
    for each in (Faulty(), *sound, Faulty()):
        deadlines.add(each)
    running = asyncio.create_task(deadlines.run())
    async with asyncio.timeout(5):
        while min(each.times for each in sound) < 2:  # noqa: ASYNC110 - a sweep has no event
            await asyncio.sleep(0.01)
    running.cancel()
    assert "ZeroDivisionError" in caplog.text


async def test_a_fault_while_a_client_is_told_of_a_timeout_ends_its_connection_only(router, kit, monkeypatch, caplog):
    running = await router()
    async with Client.connected(running.url) as client, Client.connected(running.url) as other:
        assert (await client.asked(get())).status == 200
        with monkeypatch.context() as broken:
            broken.setattr(EdgeProtocol, "_close", faulty)
            (connection, *_) = running.data_path.edge.connections
            connection.deadline = 0.0
            await kit.until(lambda: "ZeroDivisionError" in caplog.text, "logged")
        assert (await other.asked(get())).status == 200
