"""LoRA adapters: which an endpoint has loaded, and what it costs to run one that it has not.

An engine runs a few adapters in a batch and keeps those of late; another has to be loaded first, and wait for a place where
all are taken. A name is known as that of an adapter once any engine has said so.
"""

from collections import OrderedDict
from typing import Final

from fairlead_router.decisions.types import Candidate, Demand

LOAD_SECONDS: Final = 0.2
"""To load an adapter of usual rank into a GPU, from disk or from the host's memory."""
_USUAL_SLOTS: Final = 1
"""Of an engine that does not say how many adapters it runs at a time: what vLLM does without being told."""


class LoadedAdapters:
    """Those of one endpoint, by what it was sent."""

    __slots__ = ("_recent", "_running")

    def __init__(self) -> None:
        self._running: dict[str, int] = {}
        self._recent: OrderedDict[str, None] = OrderedDict()  # the last one used is the last

    def begin(self, adapter: str, slots: int | None) -> None:
        """Note a request for an adapter; `slots` can be loaded."""
        self._running[adapter] = self._running.get(adapter, 0) + 1
        self._recent[adapter] = None
        self._recent.move_to_end(adapter)
        while len(self._recent) > max(slots or _USUAL_SLOTS, len(self._running)):
            del self._recent[next(each for each in self._recent if each not in self._running)]

    def end(self, adapter: str) -> None:
        """Note that such a request has ended."""
        left = self._running[adapter] - 1
        if left:
            self._running[adapter] = left
        else:
            del self._running[adapter]

    def has(self, adapter: str) -> bool:
        """Whether it is loaded."""
        return adapter in self._recent

    @property
    def running(self) -> frozenset[str]:
        """Those that requests run with."""
        return frozenset(self._running)


def adapter_seconds(demand: Demand, endpoint: Candidate) -> float:
    """Return the seconds that a request waits for its adapter, beside everything else that it waits for there."""
    adapter, report = demand.request.model, endpoint.report
    if endpoint.adapters.has(adapter) or adapter in report.adapters:
        return 0.0
    running = endpoint.adapters.running | report.adapters
    if len(running) < (report.most_adapters or _USUAL_SLOTS):
        return LOAD_SECONDS
    # A place comes free when the last request of another adapter ends: about as long as an answer takes now.
    return LOAD_SECONDS + demand.output_tokens * endpoint.pace.batch_seconds(endpoint.load.decodes)
