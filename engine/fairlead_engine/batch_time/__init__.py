"""Batch-time models: how long one batch takes on some hardware.

Named profiles are fits to measurements, so that a figure in a result can be traced to the hardware it stands for.
"""

from fairlead_engine.batch_time.models import Attention, BatchTime, Linear, Roofline, Staircase, Table
from fairlead_engine.batch_time.profiles import FAST, PROFILES

__all__ = ["FAST", "PROFILES", "Attention", "BatchTime", "Linear", "Roofline", "Staircase", "Table"]
