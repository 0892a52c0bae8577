"""Command line of the mock engine."""

import asyncio
import logging
import re
import socket
import sys
from collections.abc import Sequence
from dataclasses import replace

import click
import uvloop

from fairlead_engine.batch_time import PROFILES
from fairlead_engine.contract import (
    HOST_FLAG,
    MODEL_FLAG,
    PORT,
    PORT_FLAG,
    SERVED_MODEL_NAME_FLAG,
    SHUTDOWN_TIMEOUT_FLAG,
)
from fairlead_engine.mock.engine import Engine
from fairlead_engine.mock.server import Shutdown, listen, serve
from fairlead_engine.mock.settings import Settings
from fairlead_engine.schedulers import SCHEDULERS

_LOG_LEVELS = ("debug", "info", "warning", "error")


class _Command(click.Command):
    """A command that takes `--served-model-name a b`, as vLLM does, besides repeating the flag."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _repeat_flag(args, SERVED_MODEL_NAME_FLAG))


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
    "--profile", type=click.Choice(sorted(PROFILES)), default="fast", help="Batch-time model: how long a batch takes."
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
    SHUTDOWN_TIMEOUT_FLAG,
    "shutdown_timeout_seconds",
    type=float,
    default=0.0,
    metavar="SECONDS",
    help="What running requests get after SIGTERM; 0 cuts them at once.",
)
@click.option("--engine-id", metavar="ID", help="Value of the response header x-engine-id. [default: HOSTNAME:PORT]")
@click.option("--log-level", type=click.Choice(_LOG_LEVELS), default="info", help="debug adds a line per request.")
def command(  # noqa: PLR0913 - click gives every option a parameter
    *,
    model: str,
    served_model_names: tuple[str, ...],
    host: str,
    port: int,
    profile: str,
    time_scale: float,
    scheduler: str,
    scheduler_options: tuple[str, ...],
    max_num_batched_tokens: int | None,
    max_num_seqs: int | None,
    num_gpu_blocks: int,
    max_model_len: int,
    shutdown_timeout_seconds: float,
    engine_id: str | None,
    log_level: str,
) -> None:
    """Serve a mock inference engine: vLLM's OpenAI endpoints and metrics over a batch loop in real time."""
    flags = {"max_num_batched_tokens": max_num_batched_tokens, "max_num_seqs": max_num_seqs}
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        settings = Settings(
            served_model_names=served_model_names or (model,),
            batch_time=PROFILES[profile],
            time_scale=time_scale,
            scheduler=scheduler,
            scheduler_options=_options(scheduler_options),
            limits=replace(SCHEDULERS[scheduler].limits, num_gpu_blocks=num_gpu_blocks, **given),
            max_model_len=max_model_len,
            shutdown_timeout_seconds=shutdown_timeout_seconds,
            engine_id=socket.gethostname() if engine_id is None else engine_id,
        )
    except ValueError as error:
        raise click.UsageError(_in_flags(str(error))) from error
    try:
        listener = listen(host, port)
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
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, listener, ready))


def _options(texts: Sequence[str]) -> dict[str, str]:
    """Read NAME=VALUE pairs."""
    options = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"scheduler_options must be NAME=VALUE, not {text!r}")
        options[name] = value
    return options


def _in_flags(message: str) -> str:
    """Name settings by the flags that set them."""
    flags = {parameter.name: parameter.opts[0] for parameter in command.params}
    return re.sub(r"\b[a-z]+(_[a-z]+)+\b", lambda name: flags.get(name[0], name[0]), message)


async def _serve(settings: Settings, listener: socket.socket, ready: str) -> None:
    engine = Engine(settings)
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
