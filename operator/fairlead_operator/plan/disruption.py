"""The PodDisruptionBudget of a pool's engines: what an eviction is answered.

`kubectl drain` cordons a node and then evicts its pods, again and again until they are gone. An operator that sees the
cordon replaces the engines there first (`engines.py`) and deletes them drained, so every eviction can be refused. One that may not
look at nodes sees nothing to act on; there evictions pass, one engine at a time, which ends its streams before it ends.
"""

from typing import Any

from fairlead_operator.api.pool import Pool
from fairlead_operator.plan.metadata import metadata, selector
from fairlead_router.contract import Component


def disruption_budget(pool: Pool, *, sees_cordons: bool) -> dict[str, Any]:
    """Give the manifest of the budget."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(pool, f"{pool.name}-engine", Component.ENGINE),
        "spec": {
            "maxUnavailable": 0 if sees_cordons else 1,
            "selector": {"matchLabels": selector(pool.name, Component.ENGINE)},
        },
    }
