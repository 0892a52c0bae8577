"""API keys: what a file of hashed keys says, and whose a key is.

The file holds the SHA-256 of each key and never a key, so that who reads it (a backup, a screen, a Secret) can use
none. A plain SHA-256 is right here, and a slow hash made for passwords would be wrong: a key made by `fairlead key`
has 256 random bits, which nobody guesses at any speed, while a slow hash would cost every request milliseconds.

Looking a key up is one SHA-256 and one dictionary lookup by its digest. How long the lookup takes says nothing about
the keys: to learn from it, somebody would have to choose digests, and SHA-256 lets nobody choose them.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Annotated, Final, Self

import yaml
from pydantic import AfterValidator, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from fairlead_router.config import ModelName, Name, Strict
from fairlead_router.decisions.types import Quota

_HASH: Final = re.compile(r"sha256:[0-9a-f]{64}")
_WORD: Final = re.compile(r"[A-Za-z_]{1,20}")
"""What a field's name looks like, and a key does not."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever sends a request; `None` in `classes` or `models` is: all of them."""

    name: str
    """Of the key, for logs."""
    tenant: str
    """To whom the request is counted."""
    classes: tuple[str, ...] | None = None
    models: tuple[str, ...] | None = None
    trusted: bool = False
    """Whether headers by which a caller claims an identity are believed: the caller is a gateway that checked them."""
    own_limits: bool = False
    """Whether its requests may set TTFT and TBT limits of their own."""
    quotas: Mapping[str, Quota] = field(default_factory=dict)
    """What the tenant may ask in a minute, by class."""

    def may_use_class(self, service_class: str) -> bool:
        """Whether the key allows a service class."""
        return self.classes is None or service_class in self.classes

    def may_use_model(self, model: str) -> bool:
        """Whether the key allows a model; an empty name, of a request that names none, is not one that a key lists."""
        return self.models is None or model in self.models


ANYONE: Final = Principal(name="anyone", tenant="anyone", own_limits=True)
"""Who sends a request where no keys are configured: as free in their limits as in the choice of a class."""


def hash_of(key: bytes) -> str:
    """Return the hash of a key as the file of keys has it."""
    return f"sha256:{sha256(key).hexdigest()}"


class KeyRing:
    """The keys that are known; a file that changes gives another ring."""

    __slots__ = ("_principals",)

    def __init__(self, principals: Iterable[tuple[bytes, Principal]] = ()) -> None:
        """Take pairs of a key's SHA-256 digest and its principal."""
        self._principals = dict(principals)

    @property
    def principals(self) -> tuple[Principal, ...]:
        """Whose keys are known."""
        return tuple(self._principals.values())

    def principal(self, key: bytes) -> Principal | None:
        """Return whose key it is, or None where nobody's."""
        return self._principals.get(sha256(key).digest())

    @classmethod
    def from_yaml(cls, text: str) -> Self:
        """Parse a file of keys.

        Raises
        ------
        ValueError
            The text is not such a file. The message names the field and the fix, and repeats no value that could be
            a key written in the wrong place.

        """
        try:
            document = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(f"not YAML{_place(error)}; see `fairlead key create --help` for the form") from None
        try:
            entries = _KeysFile.model_validate(document).keys
        except ValidationError as error:
            raise ValueError("; ".join(map(_problem, error.errors(include_input=False)))) from None
        _check_unique("name", [entry.name for entry in entries])
        _check_unique("hash", [entry.hash for entry in entries])
        return cls((bytes.fromhex(entry.hash.removeprefix("sha256:")), entry.principal()) for entry in entries)


def _is_hash(value: str) -> str:
    if not _HASH.fullmatch(value):
        raise ValueError(
            "must be sha256: and 64 digits of 0-9 and a-f; to hash a key: printf %s KEY | fairlead key hash. "
            "If a key stands here in plain text, replace the key too: whoever has read the file knows it"
        )
    return value


def _is_not_empty(values: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if values == ():
        raise ValueError("must not be empty, which would allow nothing; leave it out to allow everything")
    return values


class _Quota(Strict):
    """What a tenant may ask of a class."""

    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.requests_per_minute is None and self.tokens_per_minute is None:
            raise ValueError("must set requestsPerMinute or tokensPerMinute, or be left out to set no limit")
        return self


class _Key(Strict):
    """One entry of the file."""

    name: Name
    hash: Annotated[str, AfterValidator(_is_hash)]
    tenant: Name | None = None
    classes: Annotated[tuple[Name, ...] | None, AfterValidator(_is_not_empty)] = None
    models: Annotated[tuple[ModelName, ...] | None, AfterValidator(_is_not_empty)] = None
    trusted: bool = False
    own_limits: bool = False
    quotas: dict[Name, _Quota] = Field(default_factory=dict)

    def principal(self) -> Principal:
        tenant = self.tenant or self.name
        quotas = {name: Quota(each.requests_per_minute, each.tokens_per_minute) for name, each in self.quotas.items()}
        return Principal(self.name, tenant, self.classes, self.models, self.trusted, self.own_limits, quotas)


class _KeysFile(Strict):
    """The whole file."""

    keys: tuple[_Key, ...] = Field(max_length=100_000)


def _check_unique(field: str, values: list[str]) -> None:
    seen: dict[str, int] = {}
    for number, value in enumerate(values):
        if value in seen:
            raise ValueError(
                f"keys.{number}.{field}: the same as keys.{seen[value]}.{field}; every {field} must be unique"
            )
        seen[value] = number


def _problem(error: ErrorDetails) -> str:
    """Say what is wrong with a field; not what it holds, nor a field's name that could be a key."""
    *parents, last = ("the file", *error["loc"])
    if error["type"] == "extra_forbidden":
        unknown = f"{last!r}" if _WORD.fullmatch(str(last)) else "a name that is not shown, as it could be a key"
        known = _KeysFile.model_fields if len(parents) == 1 else _Key.model_fields
        names = (field.alias or name for name, field in known.items())
        return f"{_path(parents)}: unknown field: {unknown}; known are {', '.join(names)}"
    return f"{_path([*parents, last])}: {error['msg'].removeprefix('Value error, ')}"


def _path(location: Sequence[int | str]) -> str:
    return ".".join(map(str, location[1:])) or "the file"


def _place(error: yaml.YAMLError) -> str:
    """Say where YAML ends; the parser's own message shows the text around it, and that could be a key."""
    mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
    return f" at line {mark.line + 1}" if mark else ""
