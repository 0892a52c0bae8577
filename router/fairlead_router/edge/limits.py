"""`config.Limits` as numbers."""

from dataclasses import dataclass
from typing import Self

from fairlead_router.config import Limits, seconds


@dataclass(frozen=True, slots=True)
class EdgeLimits:
    """What every connection looks up; times in seconds."""

    header_bytes: int
    header_timeout: float
    body_timeout: float
    send_timeout: float
    keep_alive: float

    @classmethod
    def of(cls, limits: Limits) -> Self:
        """Convert the configured durations."""
        return cls(
            header_bytes=limits.header_bytes,
            header_timeout=seconds(limits.header_timeout),
            body_timeout=seconds(limits.body_timeout),
            send_timeout=seconds(limits.send_timeout),
            keep_alive=seconds(limits.keep_alive),
        )
