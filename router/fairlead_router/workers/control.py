"""What the supervisor and its children say to each other.

    supervisor -> child                                     child -> supervisor
    [config, {...}]                                         [ready]             serves, or decides
    [endpoints, [[uid, address, state, name,
        revision, role], ...], {uid: slot}, complete]       [report, {...}]     every second, and when asked
    [engines, {uid: [...]}]     what they say of themselves
    [report]
    [decisions, number, request id, notable, last]          [decisions, number, [...]]
    [stop]                      drain, and end
    [interrupt]                 end what still runs

Configuration and endpoints come first, and again whenever they change. A link that closes means that the other side has
died.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from fairlead_router.config import RouterConfig
from fairlead_router.contract import BreakerState, EndpointState, Role
from fairlead_router.decisions.engine_report import EngineReport
from fairlead_router.decisions.journal import Journal, Question
from fairlead_router.decisions.types import EndpointView
from fairlead_router.telemetry.snapshot import Snapshot
from fairlead_router.workers.link import Message

REPORT_SECONDS = 1.0
"""Between reports: what a worker that dies has counted since its last one is lost."""


class Tell(StrEnum):
    """Kinds of messages."""

    CONFIG = "config"
    ENDPOINTS = "endpoints"
    ENGINES = "engines"
    STOP = "stop"
    INTERRUPT = "interrupt"
    READY = "ready"
    REPORT = "report"
    DECISIONS = "decisions"


def config_message(config: RouterConfig) -> Message:
    """Return the message that carries a configuration."""
    return (Tell.CONFIG.value, config.model_dump(mode="json", by_alias=True))


def config_in(message: Message) -> RouterConfig:
    """Return the configuration in a message."""
    return RouterConfig.model_validate(message[1])


@dataclass(frozen=True, slots=True)
class Shown:
    """The endpoints that discovery has found; `complete` says that it has seen the whole pool."""

    endpoints: tuple[EndpointView, ...] = ()
    slots: Mapping[str, int] = field(default_factory=dict)
    complete: bool = False

    def message(self) -> Message:
        """Return the message that carries it."""
        endpoints = [(e.uid, e.address, e.state.value, e.name, e.revision, e.role.value) for e in self.endpoints]
        return (Tell.ENDPOINTS.value, endpoints, dict(self.slots), self.complete)

    @classmethod
    def of(cls, message: Message) -> Self:
        """Read the message."""
        _, endpoints, slots, complete = message
        views = (
            EndpointView(uid, address, EndpointState(state), name, revision=revision, role=Role(role))
            for uid, address, state, name, revision, role in endpoints
        )
        return cls(tuple(views), slots, complete)


@dataclass(frozen=True, slots=True)
class Report:
    """How a child is doing. `breakers` has the endpoints whose breaker is not closed, by uid."""

    breakers: Mapping[str, BreakerState] = field(default_factory=dict)
    prediction_errors: Mapping[str, float] = field(default_factory=dict)
    snapshot: Snapshot = field(default_factory=dict)
    asks: int | None = None
    """A worker: the process id of the decider that it asks; None while it decides by itself."""

    def message(self) -> Message:
        """Return the message that carries it."""
        body: dict[str, Any] = {
            "breakers": {uid: state.value for uid, state in self.breakers.items()},
            "predictionErrors": self.prediction_errors,
            "snapshot": self.snapshot,
            "asks": self.asks,
        }
        return (Tell.REPORT.value, body)

    @classmethod
    def of(cls, message: Message) -> Self:
        """Read the message."""
        body = message[1]
        return cls(
            {uid: BreakerState(state) for uid, state in body["breakers"].items()},
            body["predictionErrors"],
            body["snapshot"],
            body["asks"],
        )


def reports_message(reports: Mapping[str, EngineReport]) -> Message:
    """Return the message that carries what engines say of themselves."""
    told = {
        uid: (
            each.running,
            each.waiting,
            each.kv_usage,
            each.kv_tokens,
            sorted(each.adapters),
            each.most_adapters,
            each.caches_prefixes,
        )
        for uid, each in reports.items()
    }
    return (Tell.ENGINES.value, told)


def reports_in(message: Message) -> Mapping[str, EngineReport]:
    """Return what engines say of themselves in a message."""
    return {
        uid: EngineReport(running, waiting, kv_usage, kv_tokens, frozenset(adapters), *rest)
        for uid, (running, waiting, kv_usage, kv_tokens, adapters, *rest) in message[1].items()
    }


def asks_for_decisions(number: int, question: Question) -> Message:
    """Return the message that asks a child what it has decided."""
    return (Tell.DECISIONS.value, number, question.request_id, question.notable, question.last)


def decisions_told(message: Message, journal: Journal) -> Message:
    """Return a child's answer to such a message."""
    _, number, *asked = message
    return (Tell.DECISIONS.value, number, Question(*asked).answer(journal, time.time() - time.monotonic()))


def tripped(endpoints: Iterable[EndpointView]) -> Mapping[str, BreakerState]:
    """Return the endpoints whose breaker is not closed."""
    return {e.uid: e.breaker for e in endpoints if e.breaker is not BreakerState.CLOSED}
