"""Kubernetes quantities: `500m` of a CPU, `16Gi` of memory."""

import re
from decimal import Decimal

UNITS = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    **{unit: Decimal(1000) ** power for power, unit in enumerate("kMGTP", start=1)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTP", start=1)},
}


def quantity(text: str) -> Decimal:
    """Convert a Kubernetes quantity to a number: the API server rewrites `1000m` to `1` and `1024Mi` to `1Gi`."""
    match = re.fullmatch(r"([0-9.]+)([a-zA-Z]*)", text)
    if match is None or match[2] not in UNITS:
        raise ValueError(f"not a quantity: {text!r}; for example 500m, 2 or 16Gi")
    return Decimal(match[1]) * UNITS[match[2]]
