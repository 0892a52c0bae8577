"""The configuration in the numbers that decisions take: those know nothing of how it is written."""

from fairlead_router.config import RouterConfig, ServiceClass, seconds
from fairlead_router.decisions.breaker import BreakerSettings
from fairlead_router.decisions.retry import RetrySettings
from fairlead_router.decisions.types import Slo


def slo_of(service_class: ServiceClass) -> Slo:
    """Return the limits of a class."""
    ttft, tbt = service_class.ttft, service_class.tbt
    return Slo(seconds(ttft) if ttft else None, seconds(tbt) if tbt else None)


def breaker_settings(config: RouterConfig) -> BreakerSettings:
    """Return the settings of every circuit breaker."""
    return BreakerSettings(config.breaker.failures, seconds(config.breaker.open_for))


def retry_settings(config: RouterConfig) -> RetrySettings:
    """Return the settings of retries."""
    return RetrySettings(config.retries.attempts, config.retries.budget, seconds(config.retries.backoff))
