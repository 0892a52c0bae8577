"""The router's metrics: names and labels are fixed in `contract`, what they mean in docs/router.md."""

from fairlead_router.telemetry.accumulators import StreamMeters
from fairlead_router.telemetry.labels import MAX_LEARNT_MODELS, ModelNames
from fairlead_router.telemetry.snapshot import Snapshot, WorkerCounts, merge
from fairlead_router.telemetry.state import Processes
from fairlead_router.telemetry.telemetry import Occupancy, Telemetry

__all__ = [
    "MAX_LEARNT_MODELS",
    "ModelNames",
    "Occupancy",
    "Processes",
    "Snapshot",
    "StreamMeters",
    "Telemetry",
    "WorkerCounts",
    "merge",
]
