"""Command line of the mock engine."""

import asyncio
import logging
import re
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import uvloop

from fairlead_engine.contract import (
    HOST_FLAG,
    MODEL_FLAG,
    PORT,
    PORT_FLAG,
    SERVED_MODEL_NAME_FLAG,
    SHUTDOWN_TIMEOUT_FLAG,
)
from fairlead_engine.mock.engine import Engine
from fairlead_engine.mock.faults import Fault, FaultName, parse_fault
from fairlead_engine.mock.server import Shutdown, listen, serve
from fairlead_engine.mock.settings import Settings
from fairlead_engine.profile_file import profile as batch_time_of
from fairlead_engine.schedulers import SCHEDULERS

_LORA_MODULES_FLAG = "--lora-modules"
_LOG_LEVELS = ("debug", "info", "warning", "error")


class _Command(click.Command):
    """A command that takes several values after one flag where vLLM does, besides repeating the flag."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        for flag in (SERVED_MODEL_NAME_FLAG, _LORA_MODULES_FLAG):
            args = _repeat_flag(args, flag)
        return super().parse_args(ctx, args)


def _repeat_flag(args: list[str], flag: str) -> list[str]:
    """Write the flag before each of the values that follow it."""
    repeated: list[str] = []
    previous, in_values = "", False
    for arg in args:
        in_values = not arg.startswith("-") and (previous == flag or in_values)
        if in_values and previous != flag:
            repeated.append(flag)
        repeated.append(arg)
        previous = arg
    return repeated


@click.command(
    cls=_Command,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110, "show_default": True},
    epilog="""\b
Examples:
  fairlead-engine --port 8000
  fairlead-engine --profile mistral-7b-rtx6000-ada --served-model-name mistral-7b chat
  fairlead-engine --scheduler slai --scheduler-option order=fcfs --scheduler-option offset=8
  fairlead-engine --num-gpu-blocks 1000 --max-model-len 4096      (little memory: requests wait, or are preempted)
  fairlead-engine --fault slow-start=10 --fault error=503,probability=0.1 --fault-seed 7
  curl -N localhost:8000/v1/chat/completions -H 'content-type: application/json' \\
    -d '{"model": "mock", "stream": true, "messages": [{"role": "user", "content": "Hello"}]}'
""",
)
@click.option(MODEL_FLAG, "model", default="mock", metavar="NAME", help="Model that is served.")
@click.option(
    SERVED_MODEL_NAME_FLAG,
    "served_model_names",
    multiple=True,
    metavar="NAME...",
    help="Names that clients may use instead of --model; several after one flag, or the flag repeated. The first is "
    "the `model` of responses and the label of metrics.",
)
@click.option(HOST_FLAG, "host", default="0.0.0.0", help="Address to listen on.")  # noqa: S104 - vLLM's default
@click.option(PORT_FLAG, "port", type=click.IntRange(0, 65535), default=PORT, help="Port; 0 takes a free one.")
@click.option(
    "--profile",
    default="fast",
    metavar="NAME|FILE",
    help="Batch-time model: how long a batch takes. A name, or a file that `fairlead calibrate engine` wrote.",
)
@click.option("--time-scale", type=float, default=1.0, metavar="X", help="Multiplies every batch time.")
@click.option(
    "--scheduler", type=click.Choice(sorted(SCHEDULERS)), default="sarathi", help="Which requests share a batch."
)
@click.option(
    "--scheduler-option",
    "scheduler_options",
    multiple=True,
    metavar="NAME=VALUE",
    help="Option of the scheduler; the flag may be repeated.",
)
@click.option(
    "--max-num-batched-tokens",
    type=int,
    metavar="N",
    help="Token budget of a batch. [default: the scheduler's; sarathi: 512]",
)
@click.option(
    "--max-num-seqs",
    type=int,
    metavar="N",
    help="Requests that run at the same time. [default: the scheduler's; sarathi: 128]",
)
@click.option("--num-gpu-blocks", type=int, default=14_733, metavar="N", help="KV blocks of 16 tokens.")
@click.option("--max-model-len", type=int, default=8192, metavar="TOKENS", help="Context length: prompt plus output.")
@click.option(
    "--enable-prefix-caching/--no-enable-prefix-caching",
    "prefix_cache",
    default=False,
    help="Whether prompts that begin alike share memory and are computed once.",
)
@click.option(
    _LORA_MODULES_FLAG,
    "lora_modules",
    multiple=True,
    metavar="NAME=PATH...",
    help="LoRA adapters that are served; several after one flag, or the flag repeated.",
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="NAME[=VALUE][,probability=P][,next=N][,after=CHUNKS]",
    help=f"Something that goes wrong, for tests; the flag may be repeated. Names: {', '.join(FaultName)}.",
)
@click.option("--fault-seed", type=int, default=0, metavar="N", help="Decides which requests a probability hits.")
@click.option(
    "--batch-log",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write what enters the batch loop and which batches leave it; `fairlead simulate replay` reads it.",
)
@click.option(
    SHUTDOWN_TIMEOUT_FLAG,
    "shutdown_timeout_seconds",
    type=float,
    default=0.0,
    metavar="SECONDS",
    help="What running requests get after SIGTERM; 0 cuts them at once.",
)
@click.option("--engine-id", metavar="ID", help="Value of the response header x-engine-id. [default: HOSTNAME:PORT]")
@click.option("--log-level", type=click.Choice(_LOG_LEVELS), default="info", help="debug adds a line per request.")
def command(
    *, host: str, port: int, profile: str, engine_id: str | None, batch_log: Path | None, log_level: str, **flags: Any
) -> None:
    """Serve a mock inference engine: vLLM's OpenAI endpoints and metrics over a batch loop in real time."""
    try:
        settings = _settings(
            profile=profile, engine_id=socket.gethostname() if engine_id is None else engine_id, **flags
        )
    except ValueError as error:
        raise click.UsageError(_in_flags(str(error))) from error
    try:
        listener = listen(host, port, refusing=any(f.name is FaultName.SLOW_START for f in settings.faults))
    except OSError as error:
        raise click.UsageError(f"{HOST_FLAG} {host} {PORT_FLAG} {port}: {error.strerror}. Choose another.") from error
    bound_port = listener.getsockname()[1]
    if engine_id is None:
        settings = replace(settings, engine_id=f"{settings.engine_id}:{bound_port}")
    names = ", ".join(settings.served_model_names)
    ready = f"fairlead-engine {settings.engine_id} serves {names} on http://{host}:{bound_port} (profile {profile})"
    logging.basicConfig(level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if log_level == "info":
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)  # its start-up lines; ours says it in one
    with listener, _lines_to(batch_log) as write, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, listener, ready, write))


def _settings(  # noqa: PLR0913 - one parameter for each flag
    *,
    model: str,
    served_model_names: tuple[str, ...],
    profile: str,
    scheduler: str,
    scheduler_options: tuple[str, ...],
    max_num_batched_tokens: int | None,
    max_num_seqs: int | None,
    num_gpu_blocks: int,
    lora_modules: tuple[str, ...],
    faults: tuple[str, ...],
    **same: Any,
) -> Settings:
    """Return the settings that the flags make; ValueError names the setting that is wrong."""
    limits = {"max_num_batched_tokens": max_num_batched_tokens, "max_num_seqs": max_num_seqs}
    given = {name: value for name, value in limits.items() if value is not None}
    return Settings(
        served_model_names=served_model_names or (model,),
        batch_time=batch_time_of(profile),
        scheduler=scheduler,
        scheduler_options=_pairs("scheduler_options", scheduler_options),
        limits=replace(SCHEDULERS[scheduler].limits, num_gpu_blocks=num_gpu_blocks, **given),
        lora_modules=_pairs("lora_modules", lora_modules),
        faults=tuple(_fault(text) for text in faults),
        **same,
    )


def _fault(text: str) -> Fault:
    try:
        return parse_fault(text)
    except ValueError as error:
        raise ValueError(f"--fault {text}: {error}") from error


@contextmanager
def _lines_to(path: Path | None) -> Iterator[Callable[[str], object] | None]:
    """Open a file for lines, each of which is in it when the call returns; None where there is no file."""
    if path is None:
        yield None
        return
    try:
        file = path.open("w", buffering=1)
    except OSError as error:
        raise click.UsageError(f"--batch-log {path}: {error.strerror}.") from error
    with file:
        yield lambda line: file.write(f"{line}\n")


def _pairs(setting: str, texts: Sequence[str]) -> dict[str, str]:
    """Read NAME=VALUE pairs."""
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise ValueError(f"{setting} must be NAME=VALUE, not {text!r}")
        pairs[name] = value
    return pairs


def _in_flags(message: str) -> str:
    """Name settings by the flags that set them."""
    flags = {parameter.name: parameter.opts[0] for parameter in command.params}
    return re.sub(r"\b[a-z]+(_[a-z]+)+\b", lambda name: flags.get(name[0], name[0]), message)


async def _serve(
    settings: Settings, listener: socket.socket, ready: str, write_log: Callable[[str], object] | None
) -> None:
    engine = Engine(settings, write_log=write_log)
    await serve(engine, listener, Shutdown(engine), on_ready=lambda: click.echo(ready))


def main(args: Sequence[str] | None = None) -> None:
    """Run the command; bad input is one line on standard error and exit code 2."""
    try:
        command(args, standalone_mode=False)
    except click.ClickException as error:
        click.echo(f"fairlead-engine: {error.format_message()}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
