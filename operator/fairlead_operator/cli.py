"""`fairlead`: one command for people; each part adds its own sub-commands.

A sub-command is loaded only when it is called. One whose extra is not installed says which to install.
"""

import sys
from importlib.metadata import EntryPoint, entry_points

import click

EXTRAS = {
    "calibrate": "simulator",
    "crd": "operator",
    "explain": "router",
    "key": "router",
    "simulate": "simulator",
    "top": "router",
    "up": "all",
}
"""The extra that a command needs."""


class Commands(click.Group):
    """Sub-commands from the entry points `fairlead.commands`."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Give the names of all commands."""
        return sorted(_entry_points())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Load a command."""
        if (entry := _entry_points().get(cmd_name)) is None:
            return None
        try:
            command: click.Command = entry.load()
        except ModuleNotFoundError as error:
            missing, extra = error.name, EXTRAS.get(cmd_name, "all")
            message = f"needs {missing}, which is not installed: pip install 'fairlead[{extra}]'"
            return click.Command(cmd_name, callback=lambda: sys.exit(f"fairlead {cmd_name}: {message}"), help=message)
        return command


def _entry_points() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group="fairlead.commands")}


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="fairlead")
def main() -> None:
    """Fairlead: Kubernetes-native routing and scheduling for LLM inference.

    \b
      fairlead up manifests/samples/quickstart.yaml    a pool on this machine, no cluster needed
      fairlead crd | kubectl apply --server-side -f -  install the API
      fairlead top --pool chat                         a pool, live
      fairlead explain --pool chat                     what went wrong lately, and why
    """  # noqa: D301 - click wants the control character


if __name__ == "__main__":
    main()
