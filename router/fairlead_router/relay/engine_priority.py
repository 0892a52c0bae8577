"""Pass a class's priority on to engines that order what waits in them by priority.

vLLM takes the lowest number first (`--scheduling-policy priority`), SGLang the highest (`--enable-priority-scheduling`); both
take it as the field `priority` of a request. What a client has written there is not believed: of two fields of a name every
engine takes the last.
"""

from typing import Final

_BLANKS: Final = b" \t\r\n"


def with_priority(body: bytes, priority: int) -> bytes:
    """Return a request, which is known to be a JSON object, with this priority."""
    inside = body.rstrip(_BLANKS)[:-1].rstrip(_BLANKS)
    return b'%b%b"priority":%d}' % (inside, b"" if inside.endswith(b"{") else b",", priority)
