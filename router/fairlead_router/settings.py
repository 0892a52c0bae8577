"""The configuration in the numbers that decisions take: those know nothing of how it is written."""

from collections.abc import Mapping
from typing import Final

from fairlead_router.config import EnginePriority, RouterConfig, ServiceClass, seconds, size_bytes
from fairlead_router.decisions.breaker import BreakerSettings
from fairlead_router.decisions.canary import Canary
from fairlead_router.decisions.decider import Decider
from fairlead_router.decisions.pace import USUAL_LIMITS, EngineLimits
from fairlead_router.decisions.retry import RetrySettings
from fairlead_router.decisions.rules import ClassRules, OnUnreachable, QueueLimits
from fairlead_router.decisions.types import Slo


def slo_of(service_class: ServiceClass) -> Slo:
    """Return the limits of a class."""
    ttft, tbt = service_class.ttft, service_class.tbt
    return Slo(seconds(ttft) if ttft else None, seconds(tbt) if tbt else None)


def class_rules(service_class: ServiceClass) -> ClassRules:
    """Return how a class is treated where requests compete."""
    share = (service_class.share or 0) / 100
    return ClassRules(service_class.priority, share, OnUnreachable(service_class.on_unreachable))


def rules_of(config: RouterConfig) -> Mapping[str, ClassRules]:
    """Return the same for all classes, by name."""
    return {service_class.name: class_rules(service_class) for service_class in config.classes}


def queue_limits(config: RouterConfig) -> QueueLimits:
    """Return the bounds of the queue."""
    queue = config.queue
    return QueueLimits(queue.max_requests, size_bytes(queue.max_bytes), seconds(queue.max_wait))


def canary_of(config: RouterConfig) -> Canary | None:
    """Return the revision that is tried, if there is one."""
    return None if config.canary is None else Canary(config.canary.revision, config.canary.weight / 100)


def engine_limits(config: RouterConfig) -> EngineLimits:
    """Return what an engine can do at a time, where it does not say it itself."""
    engine, usual = config.engine, USUAL_LIMITS
    return EngineLimits(engine.max_num_seqs or usual.max_num_seqs, engine.batch_tokens or usual.batch_tokens)


_SIGN: Final[Mapping[EnginePriority, int]] = {"none": 0, "lower-first": -1, "higher-first": 1}


def engine_priorities(config: RouterConfig) -> Mapping[str, int]:
    """Return what an engine is told of each class; nothing where it knows no priorities."""
    sign = _SIGN[config.engine.priority]
    return {each.name: sign * each.priority for each in config.classes} if sign else {}


def breaker_settings(config: RouterConfig) -> BreakerSettings:
    """Return the settings of every circuit breaker."""
    return BreakerSettings(config.breaker.failures, seconds(config.breaker.open_for))


def configure(decider: Decider, config: RouterConfig) -> None:
    """Let a decider follow a configuration in everything but the policy, which has a state of its own."""
    decider.set_breaker(breaker_settings(config))
    decider.set_engine_limits(engine_limits(config))
    decider.set_canary(canary_of(config))
    decider.set_admission(rules_of(config), queue_limits(config))


def retry_settings(config: RouterConfig) -> RetrySettings:
    """Return the settings of retries."""
    return RetrySettings(config.retries.attempts, config.retries.budget, seconds(config.retries.backoff))
