"""The access log: a line of JSON for every request, or for a share of the good ones.

A line says who asked for what, where it went and how it ended, and nothing of what was said: no prompt, no answer, no
key, no query of a URL.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Final

import orjson

from fairlead_router import config
from fairlead_router.contract import Reason
from fairlead_router.line_writer import LineWriter

_MAX_PATH: Final = 256
_MAX_MODEL: Final = 128
"""Characters. A line of at most 4096 bytes is not torn where several processes write to one pipe."""


@dataclass(frozen=True, slots=True)
class AccessRecord:
    """What is told of a request; None is not known, or not so. `time` is its end, in seconds since 1970."""

    time: float
    request_id: str
    method: str
    path: str
    """Of the request's target, which may stand here as it came."""
    status: int
    """What the client got; 0 if it hung up before."""
    reason: Reason
    seconds: float
    """From the arrival of its head to its end."""
    service_class: str | None = None
    model: str | None = None
    tenant: str | None = None
    key: str | None = None
    """Name of the API key."""
    endpoint: str | None = None
    """The one tried last."""
    queue_seconds: float | None = None
    """How long it waited until an engine had room; None if it did not."""
    ttft_seconds: float | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    bytes_in: int = 0
    """Of the request's body."""
    bytes_out: int = 0
    """Of the answer's body."""
    retries: int = 0
    trace_id: str | None = None

    def line(self) -> bytes:
        """Return the line, its end included."""
        said = {
            "time": datetime.fromtimestamp(self.time, UTC),
            "request_id": self.request_id,
            "method": self.method,
            "path": _path_of(self.path)[:_MAX_PATH],
            "status": self.status,
            "reason": self.reason,
            "class": self.service_class,
            "model": self.model and self.model[:_MAX_MODEL],
            "tenant": self.tenant,
            "key": self.key,
            "endpoint": self.endpoint,
            "seconds": round(self.seconds, 6),
            "queue_seconds": self.queue_seconds and round(self.queue_seconds, 6),
            "ttft_seconds": self.ttft_seconds and round(self.ttft_seconds, 6),
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "retries": self.retries,
            "trace_id": self.trace_id,
        }
        return orjson.dumps(said, option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE)


def _path_of(target: str) -> str:
    """Leave out what can hold a secret: the query, and who a URL says is asking (`http://user:password@host`)."""
    path = target.partition("?")[0]
    return path if path.startswith("/") else "/" + path.partition("://")[2].partition("/")[2]


class AccessLog:
    """The access log of a process; it goes on while its configuration changes."""

    def __init__(self, lines: LineWriter, random: Random) -> None:
        self._lines = lines
        self._random = random
        self._sample: float | None = None

    def apply(self, settings: config.AccessLog | None) -> None:
        """Follow a configuration; None turns the log off."""
        self._sample = None if settings is None else settings.sample

    @property
    def lost(self) -> int:
        """Lines that were not written."""
        return self._lines.lost

    def wants(self, reason: Reason) -> bool:
        """Whether a request that ended so gets a line: a share of the good ones, and all others."""
        sample = self._sample
        return sample is not None and (reason is not Reason.COMPLETED or self._random.random() < sample)

    def write(self, record: AccessRecord) -> None:
        """Write the line of a request; never waits."""
        self._lines.write(record.line())

    def close(self, timeout_seconds: float = 2.0) -> None:
        """Write what still waits, for as long as this."""
        self._lines.close(timeout_seconds)
