"""`fairlead up`: a pool on this machine, from the manifest that a cluster would get."""

import asyncio
import contextlib
import json
import signal
import sys
import tempfile
from pathlib import Path

import aiohttp
import click

from fairlead_operator.api.pool import InvalidPoolError
from fairlead_operator.local.backend import TICK_SECONDS, LocalPool, port_is_free
from fairlead_operator.local.child import ProgramMissingError, program
from fairlead_operator.local.manifest import read_pool
from fairlead_operator.local.screen import Screen, screen
from fairlead_operator.plan.commands import engine_command
from fairlead_router.contract import ADMIN_PORT, DATA_PORT

Port = click.IntRange(1, 65535)


@click.command("up", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("manifest", type=click.Path(path_type=Path))
@click.option("--port", type=Port, default=DATA_PORT, show_default=True, help="Port of the OpenAI API.")
@click.option("--admin-port", type=Port, default=ADMIN_PORT, show_default=True, help="Port of the router's metrics.")
@click.option("--log-dir", type=click.Path(path_type=Path, file_okay=False), help="Keep log files here. Default: /tmp.")
def up(manifest: Path, port: int, admin_port: int, log_dir: Path | None) -> None:
    """Run the InferencePool of MANIFEST on this machine, as processes; no cluster is needed.

    The same spec and the same plan as in a cluster: engines are started, replaced when the file is edited, restarted
    when they crash. When the pool answers, a curl line to try is printed. Ctrl-C stops everything.

    \b
      fairlead up manifests/samples/quickstart.yaml
      fairlead up pool.yaml --port 9000 --admin-port 9001 --log-dir logs
    """  # noqa: D301 - click wants the control character
    try:
        pool = read_pool(manifest)
        program(engine_command(pool.spec, host="", port=0, shutdown_seconds=0)[0])
    except (InvalidPoolError, ProgramMissingError) as error:
        _refuse(str(error))
    for number, flag in ((port, "--port"), (admin_port, "--admin-port")):
        if not port_is_free(number):
            _refuse(f"port {number} is taken; choose another with {flag}")
    folder = log_dir or Path(tempfile.mkdtemp(prefix=f"fairlead-{pool.name}-"))
    folder.mkdir(parents=True, exist_ok=True)
    local = LocalPool(path=manifest, pool=pool, port=port, admin_port=admin_port, folder=folder)
    try:
        asyncio.run(_run(local))
    except* ProgramMissingError as group:
        _refuse(str(group.exceptions[0]))


def _refuse(message: str) -> None:
    for line in message.splitlines():
        click.echo(f"fairlead up: {line}", err=True)
    sys.exit(2)


async def _run(pool: LocalPool) -> None:
    """Run until SIGINT or SIGTERM; a second one does not wait for running requests."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def ask_to_stop() -> None:
        if stop.is_set():
            pool.kill()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, ask_to_stop)
    with screen() as shown:
        shown.say(f"starting pool {pool.pool.name} ({pool.pool.spec.replicas} engines); logs in {pool.folder}")
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(pool.run(session)), tasks.create_task(_show(pool, session, shown))]
            await _first(stop, running)
            shown.say("stopping every process")
            for task in running:
                task.cancel()
    click.echo("stopped; nothing is left running")


async def _first(stop: asyncio.Event, running: list[asyncio.Task[None]]) -> None:
    """Wait for the wish to stop, or for a task that failed: the group then tells why."""
    wish = asyncio.create_task(stop.wait())
    await asyncio.wait({wish, *running}, return_when=asyncio.FIRST_COMPLETED)
    wish.cancel()


async def _show(pool: LocalPool, session: aiohttp.ClientSession, shown: Screen) -> None:
    told = False
    while True:
        shown.refresh(pool)
        if pool.ready and not told and (answer := await _try(pool, session)):
            told = True
            shown.refresh(pool)
            shown.say(f"the pool answers ({answer}); try it:")
            shown.say(curl(pool))
        await asyncio.sleep(TICK_SECONDS)


def _question(pool: LocalPool, text: str, max_tokens: int) -> dict[str, object]:
    message = {"role": "user", "content": text}
    return {"model": pool.pool.spec.model.name, "messages": [message], "max_tokens": max_tokens, "stream": True}


def curl(pool: LocalPool) -> str:
    """Give a command line that streams a chat completion."""
    body = json.dumps(_question(pool, "Say hello.", 64))
    return f"curl -N {pool.url}/v1/chat/completions -H 'Content-Type: application/json' -d '{body}'"


async def _try(pool: LocalPool, session: aiohttp.ClientSession) -> str:
    """Stream a real answer through the router; say how it went, or nothing where it did not."""
    with contextlib.suppress(aiohttp.ClientError, TimeoutError):
        url = f"{pool.url}/v1/chat/completions"
        timeout = aiohttp.ClientTimeout(total=60)
        async with session.post(url, json=_question(pool, "Are you there?", 4), timeout=timeout) as response:
            text = await response.text()
            if response.status == 200 and text.rstrip().endswith("data: [DONE]"):
                return f"{text.count('data: ') - 1} chunks streamed"
    return ""
