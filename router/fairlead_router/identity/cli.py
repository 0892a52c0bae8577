"""`fairlead key`: make API keys, hash them, and check the file of hashes."""

import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click
import yaml
from pydantic import TypeAdapter, ValidationError

from fairlead_router.config import ModelName, Name
from fairlead_router.decisions.types import Quota
from fairlead_router.identity.keys import KeyRing, Principal, hash_of

PREFIX = "fl-"
"""Lets scanners for leaked secrets tell a key."""
RANDOM_BYTES = 32
MIN_KEY_BYTES = 20
"""Shorter ones could be guessed by who has the hash, which is made to be quick."""


def _checked(kind: Any) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """Return a callback that refuses what the file of keys would refuse."""
    adapter = TypeAdapter(kind)

    def check(_context: click.Context, _option: click.Parameter, value: Any) -> Any:
        try:
            return adapter.validate_python(value)
        except ValidationError as error:
            [problem, *_] = error.errors()
            raise click.BadParameter(f"{problem['input']!r}: {problem['msg']}") from error

    return check


_name = _checked(Name | None)
_names = _checked(tuple[Name, ...])
_models = _checked(tuple[ModelName, ...])


@click.group("key", context_settings={"help_option_names": ["-h", "--help"]})
def key() -> None:
    """Make and check API keys of the router.

    The router has a file of hashed keys and no key itself. Whoever reads the file can use none.

    \b
      echo keys: > keys.yaml
      fairlead key create --name team-a --class interactive >> keys.yaml
      fairlead key check keys.yaml
      kubectl create secret generic chat-keys --from-file=keys.yaml
    """  # noqa: D301 - click wants the control character


@key.command()
@click.option(
    "--name", metavar="NAME", callback=_name, required=True, help="Name of the key, which logs show in its place."
)
@click.option(
    "--tenant", metavar="NAME", callback=_name, help="Tenant to whom its requests are counted.  [default: the name]"
)
@click.option(
    "--class",
    "classes",
    metavar="CLASS",
    callback=_names,
    multiple=True,
    help="Service class that it may use; repeat for several. None: all.",
)
@click.option(
    "--model",
    "models",
    metavar="MODEL",
    callback=_models,
    multiple=True,
    help="Model that it may use; repeat for several. None: all.",
)
@click.option("--trusted", is_flag=True, help="Believe the identity headers of its requests: the key of a gateway.")
@click.option("--own-limits", is_flag=True, help="Its requests may set TTFT and TBT limits of their own, by headers.")
def create(
    name: str,
    tenant: str | None,
    classes: tuple[str, ...],
    models: tuple[str, ...],
    trusted: bool,
    own_limits: bool,
) -> None:
    """Make a key: its entry for the file goes to standard output, the key to standard error, this once.

    The key has 256 random bits. It is kept nowhere; if it is lost, make another.

    \b
      fairlead key create --name team-a >> keys.yaml
      fairlead key create --name nightly --tenant research --class batch --model mistral-7b >> keys.yaml
      fairlead key create --name gateway --trusted >> keys.yaml
    """  # noqa: D301
    made = PREFIX + secrets.token_urlsafe(RANDOM_BYTES)
    fields: dict[str, object] = {"name": name, "hash": hash_of(made.encode()), "tenant": tenant}
    fields |= {"classes": list(classes), "models": list(models), "trusted": trusted, "ownLimits": own_limits}
    entry = {field: value for field, value in fields.items() if value}
    click.echo(yaml.safe_dump([entry], sort_keys=False, width=200), nl=False)
    click.echo(f"the key of {name}, shown this once: {made}", err=True)


@key.command("hash")
def hash_key() -> None:
    """Hash a key that you have, for the field `hash`; it is read from standard input.

    Only for keys that nobody can guess: the hash is a quick one.

    \b
      printf %s "$KEY" | fairlead key hash
    """  # noqa: D301
    given = click.prompt("key", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.read().rstrip("\r\n")
    if len(given.encode()) < MIN_KEY_BYTES:
        _refuse(f"a key of fewer than {MIN_KEY_BYTES} bytes can be guessed from its hash; use fairlead key create")
    if given != given.strip() or not given.isascii() or not given.isprintable():
        _refuse("a key is sent in a header: it must be printable ASCII on one line, without blanks at its ends")
    click.echo(hash_of(given.encode()))


@key.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def check(file: Path) -> None:
    """Check a file of keys, and say what each may do.

    \b
      fairlead key check keys.yaml
    """  # noqa: D301
    try:
        ring = KeyRing.from_yaml(file.read_text())
    except (OSError, ValueError) as error:
        _refuse(f"{file}: {error}")
    for principal in ring.principals:
        click.echo(_line(principal))


def _line(principal: Principal) -> str:
    classes = "all" if principal.classes is None else ", ".join(principal.classes)
    models = "all" if principal.models is None else ", ".join(principal.models)
    trusted = "; identity headers are believed" if principal.trusted else ""
    own = "; may set limits of its own" if principal.own_limits else ""
    quotas = "".join(f"; {name}: {_quota(quota)} a minute" for name, quota in principal.quotas.items())
    return f"{principal.name}: tenant {principal.tenant}; classes: {classes}; models: {models}{trusted}{own}{quotas}"


def _quota(quota: Quota) -> str:
    parts = ((quota.requests, "requests"), (quota.tokens, "tokens"))
    return " and ".join(f"{number} {what}" for number, what in parts if number is not None)


def _refuse(message: str) -> NoReturn:
    click.echo(f"fairlead key: {message}", err=True)
    sys.exit(2)
