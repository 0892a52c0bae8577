"""The command as a user runs it: real processes, the mock engine, OpenAI's own client."""

import asyncio
import contextlib
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import openai
import pytest
from click.testing import CliRunner
from ports import free_port

from fairlead_router.__main__ import main
from fairlead_router.config import RouterConfig, StaticEndpoint

BIN = Path(sys.executable).parent
READY_SECONDS = 15


@dataclass
class Running:
    process: asyncio.subprocess.Process
    port: int
    admin_port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def admin_url(self) -> str:
        return f"http://127.0.0.1:{self.admin_port}"


@pytest.fixture
async def run():
    """Start commands; what still runs at the end is killed."""
    processes = []

    async def start(*command: object) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*map(str, command), stdout=pipe, stderr=pipe)
        processes.append(process)
        return process

    yield start
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


@pytest.fixture
async def session():
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def start_router(run):
    async def start(*args: object) -> Running:
        port, admin_port = free_port(), free_port()
        command = [BIN / "fairlead-router", "--host", "127.0.0.1", "--port", port, "--admin-port", admin_port, *args]
        process = await run(*command)
        async with asyncio.timeout(READY_SECONDS):
            line = await process.stdout.readline()
        assert f"ready: http://127.0.0.1:{port} " in line.decode(), (await process.stderr.read()).decode()
        return Running(process, port, admin_port)

    return start


@pytest.fixture
def start_engine(run, session):
    async def start(*args: object) -> Running:
        port = free_port()
        process = await run(BIN / "fairlead-engine", "--host", "127.0.0.1", "--port", port, *args)
        async with asyncio.timeout(READY_SECONDS):
            while True:
                with contextlib.suppress(aiohttp.ClientConnectionError):
                    async with session.get(f"http://127.0.0.1:{port}/health"):
                        return Running(process, port)
                await asyncio.sleep(0.02)

    return start


def slow_stream(client: openai.AsyncOpenAI):
    return client.chat.completions.create(
        model="mock", messages=[{"role": "user", "content": "hi"}], stream=True, max_tokens=4000
    )


async def rest_of(stream) -> list[object]:
    async with asyncio.timeout(5):
        return [chunk async for chunk in stream]


async def test_openais_client_streams_and_completes_through_the_router(start_router, start_engine):
    engine = await start_engine()
    router = await start_router("--endpoints", engine.url)
    async with openai.AsyncOpenAI(base_url=router.url + "/v1", api_key="none", max_retries=0) as client:
        stream = await client.chat.completions.create(
            model="mock",
            messages=[{"role": "user", "content": "hi"}],
            stream=True,
            max_tokens=20,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
        assert sum(bool(c.choices and c.choices[0].delta.content) for c in chunks) == 20
        assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "length"
        assert chunks[-1].usage.completion_tokens == 20
        answer = await client.completions.create(model="mock", prompt="hi", max_tokens=7)
        assert answer.usage.completion_tokens == 7
        assert [model.id async for model in client.models.list()] == ["mock"]
        with pytest.raises(openai.NotFoundError):
            await client.completions.create(model="unheard-of", prompt="hi")


async def test_a_client_that_hangs_up_aborts_its_request_at_the_engine(start_router, start_engine, session, kit):
    engine = await start_engine("--time-scale", 50)
    router = await start_router("--endpoints", engine.url)

    async def requests() -> dict[str, int]:
        async with session.get(engine.url + "/admin/requests") as answer:
            return await answer.json()

    async with openai.AsyncOpenAI(base_url=router.url + "/v1", api_key="none", max_retries=0) as client:
        stream = await slow_stream(client)
        await anext(aiter(stream))
        assert (await requests())["running"] == 1
        await stream.close()
    async with asyncio.timeout(5):
        while (seen := await requests())["running"]:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.02)
    assert seen["aborted"] == 1


async def test_a_killed_engine_ends_only_its_own_streams_each_with_an_error(start_router, start_engine):
    engines = [await start_engine("--time-scale", 20) for _ in range(2)]
    router = await start_router("--endpoints", ",".join(engine.url for engine in engines))
    async with openai.AsyncOpenAI(base_url=router.url + "/v1", api_key="none", max_retries=0) as client:
        streams = [await slow_stream(client) for _ in range(4)]
        for stream in streams:
            await anext(aiter(stream))
        killed = [s.response.headers["x-fairlead-endpoint"].endswith(str(engines[0].port)) for s in streams]
        assert killed.count(True) == 2
        engines[0].process.kill()
        for stream, is_killed in zip(streams, killed, strict=True):
            if is_killed:
                with pytest.raises(openai.APIError) as caught:
                    await rest_of(stream)
                assert caught.value.code == "engine_disconnected"
            else:
                await anext(aiter(stream))
                await stream.close()


async def test_sigterm_lets_streams_finish_and_refuses_new_requests(start_router, engine, kit, session):
    go_on = asyncio.Event()

    async def script(connection):
        await connection.send(kit.STREAM_HEAD + kit.chunk(kit.token("a")))
        await go_on.wait()
        await connection.send(kit.chunk(kit.DONE) + kit.LAST_CHUNK)

    async def healthy_or_slow(connection):
        health = scripted.requests[-1].line.startswith("GET /health")
        await (kit.answers(kit.whole(b""))(connection) if health else script(connection))

    scripted = await engine(healthy_or_slow)
    router = await start_router("--endpoints", scripted.address)
    body = {"model": "m", "stream": True}
    async with session.post(router.url + "/v1/completions", json=body) as answer:
        await answer.content.readany()
        reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
        writer.write(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        assert await reader.readuntil(b'"ok"}')
        router.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(5):
            while True:
                async with session.get(router.admin_url + "/ready") as ready:
                    if ready.status == 503:
                        break
                await asyncio.sleep(0.01)
        writer.write(b'POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 13\r\n\r\n{"model":"m"}')
        refused = await reader.read()
        assert b"503 Service Unavailable" in refused
        assert b'"code":"shutting_down"' in refused
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", router.port)
        go_on.set()
        assert (await answer.content.read()).endswith(kit.DONE)
    async with asyncio.timeout(5):
        assert await router.process.wait() == 0


async def test_streams_that_outlast_the_shutdown_timeout_end_with_an_error(start_router, start_engine, session):
    engine = await start_engine("--time-scale", 50)
    router = await start_router("--endpoints", engine.url, "--shutdown-timeout", 0.2)
    body = {"model": "mock", "stream": True, "max_tokens": 4000, "prompt": "hi"}
    async with session.post(router.url + "/v1/completions", json=body) as answer:
        await answer.content.readany()
        router.process.send_signal(signal.SIGTERM)
        assert b'"code":"shutting_down"' in await answer.content.read()
    async with asyncio.timeout(5):
        assert await router.process.wait() == 0


async def test_an_idle_router_stops_at_once(start_router):
    router = await start_router("--endpoints", "127.0.0.1:1")
    router.process.send_signal(signal.SIGINT)
    async with asyncio.timeout(3):
        assert await router.process.wait() == 0


async def test_flags_win_over_the_configuration_file(start_router, session, tmp_path):
    path = tmp_path / "router.yaml"
    path.write_text(RouterConfig(pool="p", endpoints=(StaticEndpoint(uid="x", address="127.0.0.1:1"),)).to_yaml())
    router = await start_router("--config", path, "--endpoints", "http://127.0.0.1:2", "--policy", "round-robin")
    async with session.get(router.admin_url + "/admin/v1/endpoints") as answer:
        (endpoint,) = await answer.json()
    assert (endpoint["address"], endpoint["state"]) == ("127.0.0.1:2", "not_ready")


async def test_a_log_in_the_folder_that_is_followed_does_not_tell_of_itself(kit, tmp_path):
    """As `fairlead up` has it: a line about a changed file would change a file."""
    path, log = tmp_path / "router.yaml", tmp_path / "router.log"
    path.write_text(RouterConfig(pool="one").to_yaml())
    command = [BIN / "fairlead-router", "--host=127.0.0.1", "--port=0", "--admin-port=0", "--config", path]
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(*map(str, command), stdout=output, stderr=output)
    await kit.until(lambda: "ready: " in log.read_text(), "ready")
    path.write_text(RouterConfig(pool="two").to_yaml())
    await kit.until(lambda: "applied: pool two" in log.read_text(), "the new configuration")
    process.terminate()
    async with asyncio.timeout(5):
        assert await process.wait() == 0
    assert "change" not in log.read_text()


def refused(*args: object) -> str:
    """The error of a command line that is refused before anything is started."""
    result = CliRunner().invoke(main, [str(arg) for arg in args])
    assert result.exit_code == 2
    return result.stderr


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], "--endpoints URL,URL or --config FILE or --pool NAME"),
        (["--endpoints", "nowhere"], "'nowhere' is not http://host:port or host:port"),
        (["--endpoints", "https://a:1"], "engines are reached by http"),
        (["--endpoints", ","], "at least one"),
        (["--endpoints", "a:1,http://a:1"], "an address appears twice"),
        (["--endpoints", "a:1", "--pool", "chat"], "leave out --endpoints and --config"),
        (["--endpoints", "a:1", "--kubeconfig", __file__], "--kubeconfig needs --pool"),
        (["--endpoints", "a:1", "--port", "7000", "--admin-port", "7000"], "must differ"),
        (["--endpoints", "a:1", "--policy", "fastest"], "'fastest' is not one of"),
        (["--config", "/no/such/file"], "does not exist"),
    ],
)
def test_a_bad_command_line_is_refused_with_what_would_do(args, says):
    assert says in refused(*args)


def test_a_bad_configuration_file_is_refused_in_one_line_with_its_fields(tmp_path):
    path = tmp_path / "router.yaml"
    path.write_text("timeouts: {firstByte: soon}\nclasses: [{name: A}]\n")
    (line,) = refused("--config", path).strip().splitlines()
    assert "timeouts.firstByte" in line
    assert "'soon'" in line
    assert "classes.0.name" in line


def test_a_kubeconfig_without_a_cluster_is_refused_in_one_line(tmp_path):
    path = tmp_path / "kubeconfig"
    path.write_text("{}")
    (line,) = refused("--port", 0, "--admin-port", 0, "--pool", "chat", "--kubeconfig", path).strip().splitlines()
    assert "--pool needs an API server" in line


def test_a_taken_port_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        error = refused("--host", "127.0.0.1", "--port", port, "--endpoints", "a:1")
    assert error == f"Error: port {port} is taken on 127.0.0.1; choose another with --port or --admin-port\n"
