"""TLS on real sockets: who is let in, what is shown, and how new files take effect."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
import uvloop
from cryptography.hazmat.primitives import serialization as form

from fairlead_router.config import EngineTls, Tls
from fairlead_router.tls import ClientTls, ServerTls, files_of

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@dataclass
class Files:
    """Files of certificates as they would be mounted."""

    folder: Path

    @property
    def certificate(self) -> str:
        return str(self.folder / "tls.crt")

    @property
    def key(self) -> str:
        return str(self.folder / "tls.key")

    @property
    def authority(self) -> str:
        return str(self.folder / "ca.crt")

    def issue(self, authority: trustme.CA, *names: str) -> None:
        """Write a new certificate and its key."""
        made = authority.issue_cert(*names)
        Path(self.certificate).write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        made.private_key_pem.write_to_path(self.key)

    def trust(self, authority: trustme.CA) -> None:
        """Write the authority."""
        authority.cert_pem.write_to_path(self.authority)

    def server(self) -> Tls:
        return Tls(certificate=self.certificate, key=self.key)

    def mutual(self) -> Tls:
        return Tls(certificate=self.certificate, key=self.key, client_ca=self.authority)


@pytest.fixture(scope="module")
def ours() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def theirs() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(tmp_path, ours) -> Files:
    made = Files(tmp_path)
    made.issue(ours, "localhost", "127.0.0.1")
    made.trust(ours)
    return made


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


@contextmanager
def served(context: ssl.SSLContext, loop: Callable[[], asyncio.AbstractEventLoop]) -> Iterator[int]:
    """An echo server of the given kind of loop, in a thread; gives its port."""
    ports: list[int] = []
    started, stop = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        running = asyncio.get_running_loop()
        running.set_exception_handler(lambda *_: None)  # handshakes that fail are what is tested
        server = await running.create_server(Echo, "127.0.0.1", 0, ssl=context)
        ports.append(server.sockets[0].getsockname()[1])
        loops.append(running)
        started.set()
        await stop.wait()
        server.close()

    def run() -> None:
        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(serve())

    thread = threading.Thread(target=run)
    thread.start()
    assert started.wait(5)
    try:
        yield ports[0]
    finally:
        loops[0].call_soon_threadsafe(stop.set)
        thread.join(5)
    assert not thread.is_alive()


def client(trusted: trustme.CA, shown: trustme.CA | None = None, **settings: object) -> ssl.SSLContext:
    """A client that trusts one authority and, where one is given, shows a certificate of another."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusted.configure_trust(context)
    if shown is not None:
        shown.issue_cert("client").configure_cert(context)
    for name, value in settings.items():
        setattr(context, name, value)
    return context


@contextmanager
def connected(
    port: int, context: ssl.SSLContext, name: str | None = "localhost", session: ssl.SSLSession | None = None
) -> Iterator[ssl.SSLSocket]:
    """A connection over which a byte has gone forth and back."""
    raw = socket.create_connection(("127.0.0.1", port), timeout=5)
    with context.wrap_socket(raw, server_hostname=name, session=session) as connection:
        if not answers(connection):  # in TLS 1.3 a client learns only now that its certificate was not liked
            raise ConnectionResetError("closed without an answer")
        yield connection


def refused() -> AbstractContextManager[object]:
    """The other side does not go on, and says so by an alert or by closing."""
    return pytest.raises((ssl.SSLError, ConnectionError))


def answers(connection: ssl.SSLSocket) -> bool:
    connection.send(b"x")
    return connection.recv(1) == b"x"


def serial(connection: ssl.SSLSocket) -> object:
    shown = connection.getpeercert()
    assert shown
    return shown["serialNumber"]


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_a_client_gets_tls_1_3_and_http_1_1(files, ours, loop):
    context = client(ours)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with served(ServerTls(files.server()).context, loop) as port, connected(port, context) as connection:
        assert connection.version() == "TLSv1.3"
        assert connection.selected_alpn_protocol() == "http/1.1"


def test_versions_before_tls_1_2_are_refused_on_both_sides(files):
    server = ServerTls(files.server()).context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True).context
    for context in (server, ClientTls(EngineTls()).context):
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
@pytest.mark.parametrize("name", ["localhost", None], ids=["with a server name", "without one"])
def test_a_new_certificate_is_shown_to_new_connections_and_old_ones_live_on(files, ours, loop, name):
    tls = ServerTls(files.server())
    nameless = client(ours, check_hostname=name is not None)
    with served(tls.context, loop) as port, connected(port, nameless, name) as before:
        files.issue(ours, "localhost", "127.0.0.1")
        tls.reload()
        with connected(port, nameless, name) as after:
            assert serial(after) != serial(before)
        assert answers(before)


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_with_a_client_authority_a_client_needs_its_certificate(files, ours, theirs, loop):
    with served(ServerTls(files.mutual()).context, loop) as port:
        with connected(port, client(ours, shown=ours)):
            pass
        for shown in (None, theirs):
            with refused(), connected(port, client(ours, shown=shown)):
                pytest.fail("a client without the right certificate was let in")


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
@pytest.mark.parametrize("name", ["localhost", None], ids=["with a server name", "without one"])
def test_a_new_client_authority_lets_its_clients_in_and_the_old_one_s_no_more(files, ours, theirs, loop, name):
    tls = ServerTls(files.mutual())
    old, new = (client(ours, shown=shown, check_hostname=name is not None) for shown in (ours, theirs))
    with served(tls.context, loop) as port, connected(port, old, name) as before:
        files.trust(theirs)
        tls.reload()
        with connected(port, new, name):
            pass
        with refused(), connected(port, old, name):
            pytest.fail("a client of the old authority was let in")
        assert answers(before)


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda v: v.name)
def test_a_session_is_resumed_but_not_one_from_before_the_authorities_changed(files, ours, theirs, loop, version):
    tls = ServerTls(files.mutual())
    context = client(ours, shown=ours, maximum_version=version)
    with served(tls.context, loop) as port:
        with connected(port, context) as first:
            session = first.session
        with connected(port, context, session=session) as second:
            assert second.session_reused
        files.trust(theirs)
        tls.reload()
        with refused(), connected(port, context, session=session):
            pytest.fail("a session was resumed whose authority is no longer trusted")


def break_key(files: Files, ours: trustme.CA) -> None:
    ours.issue_cert("localhost").private_key_pem.write_to_path(files.key)


def encrypt_key(files: Files, ours: trustme.CA) -> None:
    key = form.load_pem_private_key(Path(files.key).read_bytes(), None)
    sealed = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.BestAvailableEncryption(b"passphrase"))
    Path(files.key).write_bytes(sealed)


@pytest.mark.parametrize(
    ("breaking", "message"),
    [
        (lambda files, _: Path(files.certificate).unlink(), r"tls\.certificate: cannot read .*/tls\.crt: No such file"),
        (lambda files, _: Path(files.key).unlink(), r"tls\.key: cannot read .*/tls\.key: No such file"),
        (lambda files, _: Path(files.authority).unlink(), r"tls\.clientCa: cannot read .*/ca\.crt: No such file"),
        (lambda files, _: Path(files.certificate).write_text("junk"), r"tls: .*/tls\.crt .* in PEM"),
        (lambda files, _: Path(files.key).write_text("junk"), r"tls: .*/tls\.crt .* in PEM"),
        (
            lambda files, _: Path(files.authority).write_text("junk"),
            r"tls\.clientCa: .*/ca\.crt must hold certificates",
        ),
        (break_key, r"key and certificate do not belong together"),
        (encrypt_key, r"the private key is encrypted"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_broken_file_is_refused_by_name_and_the_last_good_ones_stay(files, ours, breaking, message):
    tls = ServerTls(files.mutual())
    with served(tls.context, asyncio.new_event_loop) as port:
        breaking(files, ours)
        with pytest.raises(ValueError, match=message):
            tls.reload()
        with pytest.raises(ValueError, match=message):
            ServerTls(files.mutual())
        with connected(port, client(ours, shown=ours)):
            pass


def test_a_message_holds_no_part_of_a_key(files, ours):
    Path(files.key).write_text("SECRET")
    with pytest.raises(ValueError, match="PEM") as refusal:
        ServerTls(files.server())
    assert "SECRET" not in str(refusal.value)


def test_the_files_to_follow_are_those_that_are_configured(files):
    assert files_of(files.server()) == (Path(files.certificate), Path(files.key))
    assert files_of(files.mutual())[2:] == (Path(files.authority),)
    assert ClientTls(EngineTls(ca=files.authority)).files == (Path(files.authority),)
    assert ClientTls(EngineTls()).files == ()


@contextmanager
def engine(files: Files) -> Iterator[int]:
    """An engine whose certificate is in `files`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    with served(context, asyncio.new_event_loop) as port:
        yield port


def test_an_engine_is_checked_by_its_authority_and_its_address_or_configured_name(files, ours):
    with engine(files) as port:
        for name in ("127.0.0.1", "localhost"):
            with connected(port, ClientTls(EngineTls(ca=files.authority)).context, name):
                pass
        with (
            pytest.raises(ssl.SSLCertVerificationError, match="not valid for 'other'"),
            connected(port, ClientTls(EngineTls(ca=files.authority)).context, "other"),
        ):
            pytest.fail("an engine with another name was believed")


def test_an_engine_of_an_unknown_authority_is_refused_also_when_the_system_s_are_trusted(files, theirs):
    with engine(files) as port:
        files.trust(theirs)
        for config in (EngineTls(ca=files.authority), EngineTls()):
            with pytest.raises(ssl.SSLCertVerificationError), connected(port, ClientTls(config).context):
                pytest.fail("an engine of an unknown authority was believed")


def test_the_authority_of_engines_can_change(files, ours, theirs):
    tls = ClientTls(EngineTls(ca=files.authority))
    files.trust(theirs)
    tls.reload()
    with engine(files) as port, pytest.raises(ssl.SSLCertVerificationError), connected(port, tls.context):
        pytest.fail("an engine of the old authority was believed")
    files.trust(ours)
    tls.reload()
    with engine(files) as port, connected(port, tls.context):
        pass


def test_the_router_shows_its_certificate_to_engines_that_ask(files, ours, tmp_path):
    own = Files(tmp_path / "own")
    own.folder.mkdir()
    own.issue(ours, "router")
    with served(ServerTls(files.mutual()).context, asyncio.new_event_loop) as port:
        config = EngineTls(ca=files.authority, certificate=own.certificate, key=own.key)
        with connected(port, ClientTls(config).context):
            pass
        with (
            refused(),
            connected(port, ClientTls(EngineTls(ca=files.authority)).context),
        ):
            pytest.fail("an engine that asks for a certificate got none")


def test_an_engine_s_files_that_are_broken_are_refused_by_name(files):
    Path(files.authority).write_text("junk")
    with pytest.raises(ValueError, match=r"engineTls\.ca: .*/ca\.crt must hold certificates"):
        ClientTls(EngineTls(ca=files.authority))
