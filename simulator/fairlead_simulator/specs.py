"""Reads what the command line writes as text: `NAME:KEY=VALUE,...`, rates, lengths, users.

Every reader raises ValueError with a message that names what is wrong and what would be right.
"""

from collections.abc import Mapping
from dataclasses import fields
from decimal import Decimal, InvalidOperation
from math import isclose, isfinite
from typing import Any, TypeVar

from fairlead_simulator.lengths import Lengths
from fairlead_simulator.workload import Conversations, Drawn, Fixed, ShareGpt, User

MOST_RATES = 1000
"""Rates of one sweep: more is a slip of the step."""

T = TypeVar("T")


def build(kind: str, text: str, choices: Mapping[str, type[T]]) -> T:
    """Build the dataclass that `text` names, `NAME` or `NAME:KEY=VALUE,...`, from its numeric fields."""
    name, _, rest = text.partition(":")
    if name not in choices:
        raise ValueError(f"{kind} {name!r} is unknown; choose from {', '.join(choices)}")
    chosen: Any = choices[name]
    types = {field.name: field.type for field in fields(chosen)}
    values: dict[str, float] = {}
    for item in filter(None, rest.split(",")):
        key, _, value = item.partition("=")
        if key not in types:
            known = f"it takes {', '.join(types)}" if types else "it takes none"
            raise ValueError(f"{kind} {name} has no option {key!r}; {known}")
        values[key] = number(f"{kind} {name}: {key}", value, whole=types[key] is int)
    try:
        return choices[name](**values)
    except ValueError as error:
        raise ValueError(f"{kind} {name}: {error}") from error


def number(what: str, text: str, *, whole: bool = False) -> float:
    """Read a finite number, or a whole one."""
    try:
        value = int(text) if whole else float(text)
    except ValueError:
        value = float("nan")
    if not isfinite(value):
        raise ValueError(f"{what} must be a {'whole ' if whole else ''}number, not {text!r}")
    return value


def lengths(text: str) -> Drawn:
    """Read `sharegpt`, `fixed:PROMPT,OUTPUT` or `conversations:KEY=VALUE,...`."""
    name, _, rest = text.partition(":")
    if name == "fixed":
        parts = rest.split(",")
        if len(parts) != 2:
            raise ValueError(f"lengths {text!r}: write fixed:PROMPT,OUTPUT, for example fixed:290,990")
        prompt, output = (int(number("lengths fixed: tokens", part, whole=True)) for part in parts)
        if prompt < 1 or output < 1:
            raise ValueError(f"lengths {text!r}: prompt and output must be at least 1 token")
        return Fixed(Lengths(prompt, output))
    choices: Mapping[str, type[Drawn]] = {"sharegpt": ShareGpt, "conversations": Conversations}
    if name not in choices:
        raise ValueError(f"lengths {name!r} is unknown; choose from sharegpt, fixed, conversations")
    return build("lengths", text, choices)


def positive(text: str) -> float:
    """Read a finite number above 0."""
    if (value := number("it", text)) <= 0:
        raise ValueError(f"it must be above 0, not {text}")
    return value


def whole_numbers(text: str) -> tuple[int, ...]:
    """Read whole numbers of at least 1, separated by commas."""
    values = tuple(int(number("each", part, whole=True)) for part in text.split(","))
    if min(values) < 1:
        raise ValueError(f"each must be at least 1, not {min(values)}")
    return values


def rates(text: str) -> tuple[float, ...]:
    """Read a rate in requests per second, `1.6`, or rates `FROM:TO:STEP`, both ends included."""
    try:
        parts = [Decimal(part) for part in text.split(":")]
    except InvalidOperation:
        parts = []
    if len(parts) not in {1, 3} or not all(part.is_finite() for part in parts):
        raise ValueError(f"{text!r} is neither a number nor FROM:TO:STEP, for example 0.2:2.0:0.2")
    if min(parts) <= 0:
        raise ValueError(f"a rate must be above 0 requests per second, not {min(parts)}")
    if len(parts) == 1:
        return (float(parts[0]),)
    start, end, step = parts
    if end < start:
        raise ValueError(f"{text!r} goes from {start} down to {end}; write the lower rate first")
    if (end - start) / step >= MOST_RATES:
        raise ValueError(f"{text!r} is more than {MOST_RATES} rates; take a larger step")
    return tuple(float(start + index * step) for index in range(int((end - start) / step) + 1))


def users(text: str) -> tuple[User, ...]:
    """Read `NAME:SHARE:TBT_SECONDS,...`; the shares add up to 1, and who is named first has the higher priority."""
    read = tuple(_user(part, place) for place, part in enumerate(text.split(",")))
    names = [user.name for user in read]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"user {repeated[0]} is named twice")
    total = sum(user.share for user in read)
    if not isclose(total, 1.0, abs_tol=1e-6):
        raise ValueError(f"the users' shares must add up to 1, not {total:g}")
    return read


def _user(text: str, priority: int) -> User:
    parts = text.split(":")
    if len(parts) != 3 or not parts[0].isidentifier():
        raise ValueError(f"user {text!r}: write NAME:SHARE:TBT_SECONDS, for example strict:0.05:0.1")
    name, share, limit = parts
    return User(name, number(f"user {name}: share", share), number(f"user {name}: TBT limit", limit), priority)
