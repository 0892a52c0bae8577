"""Names that the operator promises to others: its port and its metrics."""

from enum import StrEnum

HEALTH_PORT = 9091
"""Port of `/metrics`, `/health` and `/ready`."""

LEASE = "fairlead-operator"
"""Lease that the active operator holds."""


class Metric(StrEnum):
    """Metric names, without the suffixes that Prometheus adds."""

    RECONCILES = "fairlead_operator_reconciles"
    RECONCILE_SECONDS = "fairlead_operator_reconcile_seconds"
    WRITES = "fairlead_operator_writes"
    QUEUE_DEPTH = "fairlead_operator_queue_depth"
    POOLS = "fairlead_operator_pools"
    LEADER = "fairlead_operator_leader"
    LAST_RESYNC = "fairlead_operator_last_resync_timestamp_seconds"
    BUILD_INFO = "fairlead_operator_build_info"


class Result(StrEnum):
    """How a reconcile ended: label `result`."""

    UNCHANGED = "unchanged"
    CHANGED = "changed"
    INVALID = "invalid"
    REFUSED = "refused"
    UNAVAILABLE = "unavailable"
    CONFLICT = "conflict"
    GONE = "gone"
    FAILED = "failed"
