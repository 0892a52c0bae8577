"""Limits that a request sets for itself, by headers, in place of those of its class.

They change when it has to run, and so who waits for it: only callers that may set them are believed. That it would rather
be refused than wait for long everybody may say.
"""

import re
from collections.abc import Mapping
from typing import Final

from fairlead_router.config import seconds
from fairlead_router.contract import Header, Reason
from fairlead_router.decisions.types import Slo
from fairlead_router.errors import RequestError
from fairlead_router.identity.keys import Principal

_TTFT: Final = (Header.SLO_TTFT.encode(), b"x-llm-d-slo-ttft-ms")
_TBT: Final = (Header.SLO_TBT.encode(), b"x-llm-d-slo-tpot-ms", b"x-slo-tpot-ms")
"""The first that is there counts. llm-d's time per output token is a mean over an answer; here it limits every gap."""

_WAIT: Final = b"x-llm-d-inference-ttl"
_DURATION: Final = re.compile(rb"(?:[0-9]{1,9}(?:\.[0-9]{1,9})?(?:ms|s|m|h)){1,4}")
"""As Go writes them."""

MOST_MILLISECONDS: Final = 3_600_000
_MILLISECONDS: Final = re.compile(rb"[0-9]{1,9}(?:\.[0-9]{1,3})?")


def limits_of(first: Mapping[bytes, bytes], of_class: Slo, caller: Principal) -> Slo:
    """Return the limits of a request, by the first values of its header fields and by its class.

    Raises
    ------
    RequestError
        A limit is none, or the caller may not set any.

    """
    ttft, tbt = _limit(first, _TTFT), _limit(first, _TBT)
    if ttft is None and tbt is None:
        return of_class
    if not caller.own_limits:
        raise RequestError(
            Reason.CLASS_NOT_ALLOWED,
            f"this API key may not set limits of its own by {Header.SLO_TTFT} or {Header.SLO_TBT}: choose a class instead",
        )
    return Slo(of_class.ttft_seconds if ttft is None else ttft, of_class.tbt_seconds if tbt is None else tbt)


def wait_of(first: Mapping[bytes, bytes]) -> float | None:
    """Return the seconds that a request would wait for room, by the first values of its header fields; None: as any.

    Raises
    ------
    RequestError
        The value is no duration.

    """
    value = first.get(_WAIT)
    if value is None:
        return None
    if not _DURATION.fullmatch(value):
        raise RequestError(
            Reason.INVALID_REQUEST,
            f"{_WAIT.decode()} must be a duration such as 1500ms or 2s, not {value.decode('latin-1')!r:.50}",
        )
    return seconds(value.decode())


def _limit(first: Mapping[bytes, bytes], names: tuple[bytes, ...]) -> float | None:
    for name in names:
        if (value := first.get(name)) is not None:
            milliseconds = float(value) if _MILLISECONDS.fullmatch(value) else 0.0
            if not 1 <= milliseconds <= MOST_MILLISECONDS:
                raise RequestError(
                    Reason.INVALID_REQUEST,
                    f"{name.decode()} must be milliseconds from 1 to {MOST_MILLISECONDS}, not {value.decode('latin-1')!r:.50}",
                )
            return milliseconds / 1e3
    return None
