"""What the sub-commands of `fairlead simulate` share: one line per mistake, values that are read when they are given."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click


class BadInputError(click.ClickException):
    """What was given cannot be used: one line on standard error, exit code 2."""

    exit_code = 2
    command = "fairlead simulate"

    def show(self, file: Any = None) -> None:
        """Print the line."""
        click.echo(f"{self.command}: {' '.join(self.format_message().split())}", file=file, err=True)


class Command(click.Command):
    """A command that says in one line what is wrong, without its usage."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Parse the arguments."""
        with _one_line(f"{parent.command_path} {info_name}" if parent else f"{info_name}"):
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with _one_line(ctx.command_path):
            return super().invoke(ctx)


@contextmanager
def _one_line(command: str) -> Iterator[None]:
    """Name the command that an error comes from, and drop the usage that click adds to some."""
    try:
        yield
    except BadInputError as error:
        error.command = command
        raise
    except click.UsageError as error:
        short = BadInputError(error.format_message())
        short.command = command
        raise short from error


def reading(read: Callable[[str], Any]) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    """Return an option's callback that reads its text by `read`, whose ValueError says what is wrong with it."""

    def callback(ctx: click.Context, param: click.Parameter, value: str | None) -> Any:
        if value is None:
            return None
        try:
            return read(value)
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, param) from error

    return callback


@contextmanager
def bad_input(flag: str = "") -> Iterator[None]:
    """Turn ValueError and OSError into one line, about `flag` where one is to blame."""
    prefix = f"{flag}: " if flag else ""
    try:
        yield
    except OSError as error:
        raise BadInputError(f"{prefix}{error.filename}: {error.strerror}") from error
    except ValueError as error:
        raise BadInputError(f"{prefix}{error}") from error
