"""The command with thousands of clients that do nothing, and its end while they are there."""

import asyncio
import contextlib
import resource
import signal
import socket
import sys
from pathlib import Path

import pytest
from wire import Client, get, post

BIN = Path(sys.executable).parent
WANTED = 10_000
SPARE_FILES = 500
MAX_BYTES_PER_IDLE_CONNECTION = 16 * 1024


@pytest.fixture
def idle_clients():
    """How many connections this machine lets two processes have, at most `WANTED`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield min(WANTED, hard - SPARE_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
async def start(kit):
    """Start the command before one engine; gives the process and its URL."""
    processes = []

    async def start(address: str) -> tuple[asyncio.subprocess.Process, str]:
        command = [BIN / "fairlead-router", "--host=127.0.0.1", "--port=0", "--admin-port=0", "--endpoints", address]
        process = await asyncio.create_subprocess_exec(*map(str, command), stdout=asyncio.subprocess.PIPE)
        processes.append(process)
        async with asyncio.timeout(15):
            line = (await process.stdout.readline()).decode()
        return process, next(word for word in line.split() if word.startswith("http://"))

    yield start
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


def resident_bytes(pid: int) -> int:
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) * 1024


def sockets_of(pid: int) -> int:
    """Sockets that a process has open."""
    count = 0
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            count += str(link.readlink()).startswith("socket:")
    return count


def open_clients(stack: contextlib.ExitStack, url: str, count: int) -> None:
    port = int(url.rpartition(":")[2])
    for _ in range(count):
        sock = stack.enter_context(socket.socket())
        sock.connect(("127.0.0.1", port))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
async def test_10000_idle_connections_cost_little_and_requests_are_served_beside_them(
    engine, kit, start, idle_clients, record_property, capsys
):
    process, url = await start((await engine(kit.answers(kit.whole(b"{}")))).address)
    async with Client.connected(url) as client:
        assert (await client.asked(post())).status == 200
        before, sockets = resident_bytes(process.pid), sockets_of(process.pid)
        with contextlib.ExitStack() as stack:
            for _ in range(20):
                await asyncio.to_thread(open_clients, stack, url, idle_clients // 20)
            await kit.until(lambda: sockets_of(process.pid) >= sockets + idle_clients // 20 * 20, "all are accepted")
            each = (resident_bytes(process.pid) - before) / idle_clients
            with capsys.disabled():
                print(f"\n{idle_clients} idle connections: {each:.0f} bytes each")  # noqa: T201 - a figure
            assert each < MAX_BYTES_PER_IDLE_CONNECTION
            for _ in range(20):
                assert (await client.asked(post())).status == 200
                assert (await client.asked(get())).status == 200
        await kit.until(lambda: sockets_of(process.pid) <= sockets, "all are gone")
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(5):
            assert await process.wait() == 0


async def test_sigterm_with_idle_connections_of_every_kind_ends_soon(engine, kit, start):
    """A connection that nobody tells the server of when it is gone would make it wait for ever."""
    process, url = await start((await engine(kit.answers(kit.whole(b"{}")))).address)
    async with contextlib.AsyncExitStack() as stack:

        async def connected() -> Client:
            return await stack.enter_async_context(Client.connected(url))

        fresh, cold, hot, both, finished, half = [await connected() for _ in range(6)]
        await cold.asked(get())
        await hot.asked(post())
        await both.asked(post() + get())
        await both.answer()
        await finished.asked(get("/health", "connection: close"))
        await half.send(post()[:30])
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(4):
            assert await process.wait() == 0
        for client in (fresh, cold, hot, both):
            assert await client.closed()
