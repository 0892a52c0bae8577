"""Where conversations are: an engine that had the last exchange of one has most of the next prompt in its cache.

Clients say by a header which requests belong together. That is believed like any other estimate of what is cached, so
that a conversation stays where it is as long as it is not better off elsewhere, and moves when it is.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

MOST_SESSIONS: Final = 100_000
"""Those of late; about 20 MB."""


class Sessions:
    """The last exchange of every conversation: at which endpoint, and of how many tokens."""

    def __init__(self, most: int = MOST_SESSIONS) -> None:
        self._most = most
        self._last: OrderedDict[int, tuple[str, int]] = OrderedDict()

    def note(self, session: int, uid: str, tokens: int) -> None:
        """Note an exchange, or its prompt while there is no answer."""
        self._last[session] = uid, tokens
        self._last.move_to_end(session)
        if len(self._last) > self._most:
            self._last.popitem(last=False)

    def cached_tokens(self, session: int, prompt_tokens: int, cached: Mapping[str, int]) -> Mapping[str, int]:
        """Return what is cached of a prompt by endpoint, with what the session tells beside what is known otherwise.

        An engine computes at least the last token, whatever it holds.
        """
        last = self._last.get(session)
        if last is None:
            return cached
        uid, tokens = last
        tokens = min(tokens, prompt_tokens - 1)
        return cached if tokens <= cached.get(uid, 0) else {**cached, uid: tokens}
