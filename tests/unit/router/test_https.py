"""Clients that speak TLS to a whole router."""

import asyncio
import contextlib
import ssl
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
import trustme
from click.testing import CliRunner

from fairlead_router.__main__ import main
from fairlead_router.config import RouterConfig, Tls
from fairlead_router.contract import EndpointState
from fairlead_router.data_path import DataPath
from fairlead_router.decisions.types import EndpointView
from fairlead_router.router import Router
from fairlead_router.server import bind, serve_data

POST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: r\r\ncontent-length: 33\r\n\r\n"
    + b'{"model": "mock", "stream": true}'
)
GET = b"GET /health HTTP/1.1\r\nhost: r\r\n\r\n"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@dataclass
class Files:
    folder: Path

    def config(self, *, mutual: bool = False) -> RouterConfig:
        names = (str(self.folder / name) for name in ("tls.crt", "tls.key", "ca.crt"))
        certificate, key, ca = names
        return RouterConfig(tls=Tls(certificate=certificate, key=key, client_ca=ca if mutual else None))

    def issue(self, authority: trustme.CA) -> None:
        made = authority.issue_cert("localhost", "127.0.0.1")
        (self.folder / "tls.crt").write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        made.private_key_pem.write_to_path(self.folder / "tls.key")
        authority.cert_pem.write_to_path(self.folder / "ca.crt")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@dataclass
class Serving:
    router: Router
    port: int
    listening: asyncio.Event

    async def connect(self, context: ssl.SSLContext | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        name = "localhost" if context else None
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=context, server_hostname=name)

    async def get(self, context: ssl.SSLContext) -> bytes:
        """Status line of an answer on a new connection."""
        reader, writer = await self.connect(context)
        try:
            writer.write(GET)
            return await reader.readline()
        finally:
            writer.transport.abort()


@contextlib.asynccontextmanager
async def serving(config: RouterConfig, *engines: str, configured: bool = True):
    """A router that serves as in a process of its own."""
    router, stop, listening = (
        Router(config if configured else RouterConfig(), random=Random(1)),
        asyncio.Event(),
        asyncio.Event(),
    )
    listener = bind("127.0.0.1", 0)
    router.set_endpoints(EndpointView(uid=e, address=e, state=EndpointState.READY, name=e) for e in engines)
    async with DataPath(router, random=Random(2)) as data_path, asyncio.TaskGroup() as tasks:
        tasks.create_task(serve_data(router, data_path, listener, stop, shutdown_timeout=1.0, on_started=listening.set))
        if configured:
            router.apply(config)
        yield Serving(router, listener.getsockname()[1], listening)
        stop.set()
    listener.close()


def trusting(authority: trustme.CA, *, shown: trustme.CA | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    if shown:
        shown.issue_cert("client").configure_cert(context)
    return context


def serial(writer: asyncio.StreamWriter) -> object:
    return writer.get_extra_info("peercert")["serialNumber"]


async def test_a_stream_comes_through_tls_and_lives_through_a_new_certificate(files, authority, engine, kit):
    go_on = asyncio.Event()

    async def script(connection):
        await connection.send(kit.STREAM_HEAD + kit.chunk(kit.token("a")))
        await go_on.wait()
        await connection.send(kit.chunk(kit.DONE) + kit.LAST_CHUNK)

    files.issue(authority)
    scripted = await engine(script)
    context = trusting(authority)
    async with serving(files.config(), scripted.address) as router:
        await asyncio.wait_for(router.listening.wait(), 5)
        reader, writer = await router.connect(context)
        writer.write(POST)
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        files.issue(authority)

        async def renewed() -> bool:
            _, other = await router.connect(context)
            other.transport.abort()
            return serial(other) != serial(writer)

        async with asyncio.timeout(5):
            while not await renewed():  # noqa: ASYNC110 - a file that is followed has no event
                await asyncio.sleep(0.02)
        go_on.set()
        assert b"[DONE]" in await reader.readuntil(kit.LAST_CHUNK)
        writer.transport.abort()


async def test_with_a_client_authority_only_its_clients_are_answered(files, authority):
    files.issue(authority)
    async with serving(files.config(mutual=True)) as router:
        await asyncio.wait_for(router.listening.wait(), 5)
        assert await router.get(trusting(authority, shown=authority)) == b"HTTP/1.1 200 OK\r\n"
        for shown in (None, trustme.CA()):
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                assert await router.get(trusting(authority, shown=shown)) == b""


async def test_plain_http_is_not_answered_on_a_port_with_tls(files, authority):
    files.issue(authority)
    async with serving(files.config()) as router:
        await asyncio.wait_for(router.listening.wait(), 5)
        reader, writer = await router.connect(None)
        writer.write(GET)
        with contextlib.suppress(ConnectionError):
            assert not (await reader.read()).startswith(b"HTTP")
        writer.transport.abort()


async def test_nobody_is_spoken_to_before_the_certificate_is_there(files, authority, kit):
    async with serving(files.config()) as router:
        reasons = router.router.not_ready_because
        await kit.until(lambda: reasons() == ["certificate not read"], "it waits")
        with pytest.raises(ConnectionRefusedError):
            await router.connect(None)
        files.issue(authority)
        await asyncio.wait_for(router.listening.wait(), 5)
        assert reasons() == []
        assert await router.get(trusting(authority)) == b"HTTP/1.1 200 OK\r\n"


async def test_a_configuration_that_comes_later_decides_about_tls(files, authority):
    """As in Kubernetes, where the ConfigMap is read after the start."""
    files.issue(authority)
    async with serving(files.config(), configured=False) as router:
        with pytest.raises(ConnectionRefusedError):
            await router.connect(None)
        router.router.apply(files.config())
        await asyncio.wait_for(router.listening.wait(), 5)
        assert await router.get(trusting(authority)) == b"HTTP/1.1 200 OK\r\n"


async def test_a_router_that_still_waits_for_its_certificate_can_be_stopped(files):
    async with asyncio.timeout(5), serving(files.config()) as router:
        assert not router.listening.is_set()


def test_a_command_line_whose_files_are_missing_is_refused_with_the_field(files):
    path = files.folder / "router.yaml"
    path.write_text(files.config().to_yaml())
    refused = CliRunner().invoke(main, ["--config", str(path), "--port", "0", "--admin-port", "0"])
    assert refused.exit_code == 2
    assert f"--config {path}: tls.certificate: cannot read {files.folder}/tls.crt: No such file" in refused.output
