"""The live state of one router: its configuration, its decider, its telemetry, and whether it takes requests."""

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from random import Random
from typing import Any

from fairlead_router.config import RouterConfig, Timeouts, one_line, seconds
from fairlead_router.contract import EndpointState, Reason
from fairlead_router.decisions.admission import Admission
from fairlead_router.decisions.decider import Decider
from fairlead_router.decisions.engine_report import EngineReport
from fairlead_router.decisions.journal import Journal, Question
from fairlead_router.decisions.ledger import Ledger
from fairlead_router.decisions.policies import NAMING_PREFIXES, POLICIES
from fairlead_router.decisions.retry import RetryPolicy
from fairlead_router.decisions.rules import yielding
from fairlead_router.decisions.types import EndpointView
from fairlead_router.edge.limits import EdgeLimits
from fairlead_router.errors import RequestError
from fairlead_router.identity.gate import Gate, check_class, check_model, default_class
from fairlead_router.identity.keys import KeyRing, Principal
from fairlead_router.local_decider import LocalDecider
from fairlead_router.placing import Placing
from fairlead_router.settings import (
    breaker_settings,
    configure,
    engine_priorities,
    queue_limits,
    retry_settings,
    rules_of,
    slo_of,
)
from fairlead_router.telemetry import Telemetry

logger = logging.getLogger(__name__)

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Limits:
    """`Timeouts` in seconds."""

    connect: float
    first_byte: float
    inter_token: float
    total: float

    @classmethod
    def of(cls, timeouts: Timeouts) -> "Limits":
        """Convert the configured durations."""
        return cls(
            connect=seconds(timeouts.connect),
            first_byte=seconds(timeouts.first_byte),
            inter_token=seconds(timeouts.inter_token),
            total=seconds(timeouts.total),
        )


class Router:
    """What the apps read and what configuration and discovery change; lives in one event loop.

    A router is ready when its configuration is loaded and discovery has seen the pool once. It does not matter
    whether the pool has engines: a pool that is scaled to zero keeps its routers, which answer 503 by themselves.
    """

    def __init__(
        self,
        config: RouterConfig,
        *,
        clock: Clock = time.monotonic,
        random: Random | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        """Begin without endpoints; where several processes share a `ledger`, who may wait is another's to decide."""
        self.clock = clock
        self.replica = socket.gethostname()
        self.config_loaded = False
        self.discovered = False
        self.shutting_down = False
        self.gate = Gate(KeyRing() if config.auth else None)
        """Whom to let in; nobody before the keys have been read."""
        self.ready = asyncio.Event()
        """Set once, when the router has become ready."""
        self.awaited: set[str] = set()
        """What the configuration points to and has not been read yet; the router is not ready without."""
        self.followers: list[Callable[[RouterConfig], None]] = []
        """Told of every new configuration before it is used; a ValueError refuses it."""
        self._random = random or Random()  # noqa: S311 - spreads load, guards nothing
        self._use(config)
        self.journal = Journal(config.policy)
        """What this process has decided."""
        admission = Admission(rules_of(config), queue_limits(config)) if ledger is None else None
        policy = POLICIES[config.policy](self._random)
        self.decider = Decider(policy, breaker_settings(config), ledger, admission, self.journal)
        configure(self.decider, config)
        self._local = LocalDecider(self.decider, clock)
        self.placing: Placing = self._local
        """Who places requests."""
        self.retries = RetryPolicy(retry_settings(config), self._random)
        self.telemetry = Telemetry(config, self.endpoints)
        self.telemetry.retries_withheld = lambda: self.retries.exhausted

    def apply(self, config: RouterConfig) -> None:
        """Follow a configuration from the next request on.

        Raises
        ------
        ValueError
            Something that it asks for cannot be had; the last configuration stays.

        """
        if config == self.config and self.config_loaded:
            return
        for follow in self.followers:
            follow(config)
        if config.policy != self.config.policy:
            self.decider.set_policy(POLICIES[config.policy](self._random), config.policy)
        configure(self.decider, config)
        self._local.look_again()
        self.retries.use(retry_settings(config))
        self._use(config)
        if self.telemetry.apply(config):
            logger.warning("the limits of the classes changed: TTFT and TBT histograms start anew with other buckets")
        self.config_loaded = True
        self._note_ready()
        logger.info("configuration applied: pool %s, policy %s", config.pool, config.policy)

    def refuse_config(self, source: str, error: Exception) -> None:
        """Report a configuration that cannot be used; the last good one stays."""
        self.telemetry.config_refused()
        logger.error("%s is refused, the last good configuration stays: %s", source, one_line(error))

    def set_endpoints(self, endpoints: Iterable[EndpointView], *, complete: bool = True) -> None:
        """Follow what discovery found; `complete` says that it has seen the whole pool."""
        self.decider.set_endpoints(endpoints)
        self._local.look_again()
        self.discovered = self.discovered or complete
        self._note_ready()

    def note_reports(self, reports: Mapping[str, EngineReport]) -> None:
        """Follow what engines say of themselves, by uid."""
        self.decider.note_reports(reports, self.clock())
        self._local.look_again()

    def endpoints(self) -> tuple[EndpointView, ...]:
        """Every endpoint with its state and ledger, as of now."""
        return self.decider.endpoints(self.clock())

    async def decisions(self, question: Question) -> list[dict[str, Any]]:
        """Return what was decided of the last requests, as `journal.shown`."""
        return question.answer(self.journal, time.time() - self.clock())

    def not_ready_because(self) -> list[str]:
        """Say what keeps the router from being ready; empty when it is ready."""
        reasons = {
            "shutting down": self.shutting_down,
            "configuration not loaded": not self.config_loaded,
            "endpoints not discovered": not self.discovered,
        }
        return [
            *(reason for reason, holds in reasons.items() if holds),
            *(f"{what} not read" for what in sorted(self.awaited)),
        ]

    def found(self, what: str) -> None:
        """Note that something `awaited` has been read."""
        self.awaited.discard(what)
        self._note_ready()

    def class_of(self, header: bytes | None, principal: Principal) -> str:
        """Return the service class that a request belongs to.

        Raises
        ------
        RequestError
            The pool declares no class of that name, or the caller may not use it.

        """
        if header is None:
            return default_class(principal, self.slos, self._default_class)
        name = header.decode("latin-1")
        if name not in self.slos:
            known = ", ".join(self.slos)
            raise RequestError(Reason.UNKNOWN_CLASS, f"x-slo-class {name!r:.100} is not declared; use one of: {known}")
        check_class(principal, name)
        return name

    def check_model(self, model: str, principal: Principal) -> None:
        """Refuse a model that the pool does not serve or the caller may not use.

        Without configured names the engines judge; so they do where the request names no model.

        Raises
        ------
        RequestError
            The pool serves other models, or the caller may use others only.

        """
        check_model(principal, model)
        if model and self.config.models and model not in self.config.models:
            known = ", ".join(self.config.models)
            raise RequestError(
                Reason.MODEL_NOT_FOUND,
                f"the model {model!r:.100} is not served here; use one of: {known}",
                param="model",
            )

    def check_running(self) -> None:
        """Refuse new requests while the router stops.

        Raises
        ------
        RequestError
            It stops.

        """
        if self.shutting_down:
            raise RequestError(Reason.SHUTTING_DOWN, "the router is stopping: send the request again")

    def another_ready(self, tried: Set[str]) -> bool:
        """Whether there is a ready endpoint whose uid is not in `tried`."""
        return any(e.state is EndpointState.READY and e.uid not in tried for e in self.endpoints())

    def _note_ready(self) -> None:
        if not self.not_ready_because():
            self.ready.set()

    def _use(self, config: RouterConfig) -> None:
        self.config = config
        self.limits = Limits.of(config.timeouts)
        self.names_prefixes = config.policy in NAMING_PREFIXES
        """Whether the policy looks at where a prompt has been: to name its blocks costs time."""
        self._default_class = config.default_class.name
        self.edge_limits = EdgeLimits.of(config.limits)
        self.engine_priorities = engine_priorities(config)
        """What engines are told of each class; nothing where they know no priorities."""
        self.slos = {service_class.name: slo_of(service_class) for service_class in config.classes}
        self.yielding = yielding(rules_of(config))
        """Classes whose requests may have to give their place to a more urgent one."""
