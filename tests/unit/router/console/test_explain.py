"""`fairlead explain`, asking a router on real sockets."""

import asyncio
import json

import pytest
from click.testing import CliRunner, Result

from fairlead_router.config import RouterConfig, ServiceClass
from fairlead_router.console.explain import explain


async def run(*arguments: str) -> Result:
    """The command, in another thread: it waits for the router, which is in this one."""
    return await asyncio.to_thread(CliRunner().invoke, explain, arguments, env={"COLUMNS": "160"})


@pytest.fixture
async def running(engine, router, kit):
    """A router whose class `chat` asks for more than its engine can do, after one stream of it and one of `batch`."""
    config = RouterConfig(
        policy="rad",
        classes=(ServiceClass(name="chat", ttft="1ms", default=True), ServiceClass(name="batch")),
    )

    async def slow(connection):
        await asyncio.sleep(0.02)
        await kit.streams(kit.token("a"), kit.token("b", "stop"), kit.DONE)(connection)

    started = await router([await engine(slow)], config)
    for request_id, service_class in (("late", "chat"), ("fine", "batch")):
        await started.asked(headers={"x-request-id": request_id, "x-slo-class": service_class})
    return started


async def test_a_request_is_explained_with_what_it_was_weighed_by_and_how_it_went(running):
    told = await run("late", "--admin", running.admin_url)
    assert told.exit_code == 0, told.output
    address = running.router.endpoints()[0].name
    for part in (
        "late  class chat, model mock",
        f"placed on {address} by policy rad",
        "limit 1 ms: missed",
        "predicted",
        "completed, not good",
    ):
        assert part in told.output
    assert "in flight" in told.output


async def test_the_id_may_carry_the_replica_that_the_answer_s_header_names(running):
    told = await run(f"late@{running.router.replica}", "--admin", running.admin_url)
    assert "late  class chat" in told.output


async def test_without_an_id_what_went_wrong_is_listed(running):
    told = await run("--admin", running.admin_url)
    assert "late" in told.output
    assert "completed, late" in told.output
    assert "fine" not in told.output


async def test_without_an_id_all_can_be_listed(running):
    told = await run("--admin", running.admin_url, "--all", "--json")
    assert [decision["requestId"] for decision in json.loads(told.stdout)] == ["fine", "late"]


async def test_a_refusal_is_explained(running):
    running.show([])
    await running.asked(headers={"x-request-id": "none"})
    told = await run("none", "--admin", running.admin_url)
    assert "refused, no_endpoint: the pool has no engine" in told.output


async def test_a_request_that_nobody_knows_is_an_error_that_says_what_is_kept(running):
    told = await run("unheard-of", "--admin", running.admin_url)
    assert told.exit_code == 1
    assert "no decision on 'unheard-of' is kept" in told.output


async def test_a_port_where_nobody_answers_is_an_error_that_says_what_to_name():
    told = await run("--admin", "http://127.0.0.1:1")
    assert told.exit_code == 1
    assert "no router answers at http://127.0.0.1:1" in told.output
    assert "--admin URL" in told.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--admin", "localhost:9090"), "must begin with http:// or https://"),
        (("--admin", "http://x:1", "--pool", "p"), "--pool and --admin exclude each other"),
        (("--namespace", "n"), "--namespace needs --pool"),
        (("--last", "0"), "0 is not in the range"),
    ],
)
async def test_options_that_make_no_sense_are_refused(arguments, message):
    told = await run(*arguments)
    assert told.exit_code == 2
    assert message in told.output


async def test_the_answer_of_something_else_is_no_router(running):
    told = await run("--admin", running.url)
    assert told.exit_code == 1
    assert "is this the admin port of a Fairlead router?" in told.output


async def test_in_a_cluster_kubectl_is_asked(running, tmp_path, monkeypatch):
    """A kubectl that knows one pod, and passes on what is asked of it: what kubectl does is not ours to test."""
    pods = {"items": [{"metadata": {"name": "chat-router-0", "namespace": "prod"}, "status": {"phase": "Running"}}]}
    script = tmp_path / "kubectl"
    script.write_text(
        "#!/bin/sh\n"
        f"case \"$*\" in *'--raw /api/v1/namespaces/prod/pods/chat-router-0:9090/proxy/'*) "
        f'exec curl --silent --fail "{running.admin_url}${{3##*/proxy}}";;\n'
        f"'get pods --namespace prod --selector fairlead.dev/pool=chat,fairlead.dev/component=router --output json') "
        f"echo '{json.dumps(pods)}';;\n*) echo \"unexpected: $*\" >&2; exit 1;; esac\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    told = await run("late@chat-router-0", "--pool", "chat", "--namespace", "prod")
    assert "late  class chat" in told.output, told.output


async def test_without_kubectl_the_error_says_what_else_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    told = await run("--pool", "chat")
    assert told.exit_code == 1
    assert "kubectl is not installed" in told.output


async def test_an_answer_says_how_its_endpoint_was_chosen_where_the_request_asks(running):
    address = running.router.endpoints()[0].name
    _, _, headers = await running.asked(headers={"x-fairlead-explain": "1"})
    policy, waited, score = headers["x-fairlead-decision"].split("; ")
    assert (policy, waited) == ("policy=rad", "waited=0.000")
    assert score.startswith(f"{address}=-")
    _, _, headers = await running.asked()
    assert "x-fairlead-decision" not in headers
