"""`fairlead top`, asking a router on real sockets."""

import asyncio
import json

import pytest
from click.testing import CliRunner, Result

from fairlead_router.config import RouterConfig, ServiceClass
from fairlead_router.console.top import merged, top


async def run(*arguments: str) -> Result:
    """The command, in another thread: it waits for the router, which is in this one."""
    return await asyncio.to_thread(CliRunner().invoke, top, arguments, env={"COLUMNS": "160"})


@pytest.fixture
async def running(engine, router, kit):
    config = RouterConfig(classes=(ServiceClass(name="chat", ttft="10s", default=True),))
    started = await router([await engine(kit.streams(kit.token("a"), kit.token("b", "stop"), kit.DONE))], config)
    await started.asked()
    return started


async def test_one_look_shows_classes_and_endpoints(running):
    told = await run("--once", "--admin", running.admin_url)
    assert told.exit_code == 0, told.output
    assert "1 router, 1 of 1 endpoints ready" in told.output
    [chat] = [line for line in told.output.splitlines() if line.startswith("chat ")]
    assert "100.0%" in chat
    assert any(line.startswith(running.router.endpoints()[0].name) for line in told.output.splitlines())


async def test_as_json_it_has_the_same(running):
    look = json.loads((await run("--once", "--json", "--admin", running.admin_url)).stdout)
    assert [(each["name"], each["good"], each["queued"]) for each in look["classes"]] == [("chat", 1.0, 0)]
    assert look["endpoints"][0]["state"] == "ready"
    assert look["endpoints"][0]["ttft_p95"] > 0


async def test_a_router_that_does_not_answer_is_an_error_that_says_what_to_name():
    told = await run("--once", "--admin", "http://127.0.0.1:1")
    assert told.exit_code == 1
    assert "--admin URL" in told.output


def test_requests_in_flight_at_an_endpoint_are_those_of_all_routers():
    one = {"uid": "u", "name": "engine-0", "state": "ready", "inFlight": 2}
    other = {"uid": "v", "name": "engine-1", "state": "ready", "inFlight": 0}
    assert merged([[one, other], [{**one, "inFlight": 3}]]) == [{**one, "inFlight": 5}, other]
