"""Numbers as people read them."""

from datetime import datetime


def seconds(value: float | None) -> str:
    """Write a length of time."""
    if value is None:
        return "-"
    return f"{value * 1e3:.0f} ms" if value < 1 else f"{value:.2f} s"


def share(value: float | None) -> str:
    """Write a share."""
    return "-" if value is None else f"{value:.1%}"


def clock(at: float) -> str:
    """Write a moment, given in Unix time, as the clock on the wall shows it."""
    return datetime.fromtimestamp(at).astimezone().strftime("%H:%M:%S.%f")[:-3]


def number(count: int, what: str) -> str:
    """Write how many there are of something."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
