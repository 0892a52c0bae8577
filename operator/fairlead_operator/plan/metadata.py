"""Names, labels and ownership that every child of a pool carries."""

from typing import Any

from fairlead_operator.api.pool import API_VERSION, KIND, Pool
from fairlead_router.contract import Component, Label

MANAGED_BY = "fairlead-operator"
"""Field manager of everything that the operator writes, and label value on everything that it owns."""


def router_name(pool: str) -> str:
    """Name the router's Deployment, ConfigMap, ServiceAccount, Role and RoleBinding."""
    return f"{pool}-router"


def labels(pool: str, component: Component) -> dict[str, str]:
    """Give the labels of a child; `Label.POOL` and `Label.COMPONENT` alone select it."""
    return {
        **selector(pool, component),
        "app.kubernetes.io/name": "fairlead",
        "app.kubernetes.io/instance": pool,
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/managed-by": MANAGED_BY,
    }


def selector(pool: str, component: Component) -> dict[str, str]:
    """Give the labels that select a component's pods."""
    return {Label.POOL.value: pool, Label.COMPONENT.value: component.value}


def metadata(pool: Pool, name: str, component: Component) -> dict[str, Any]:
    """Give the metadata of a child that lives and dies with its pool."""
    return {
        "name": name,
        "namespace": pool.namespace,
        "labels": labels(pool.name, component),
        "ownerReferences": [
            {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "name": pool.name,
                "uid": pool.uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }


def restricted_pod() -> dict[str, Any]:
    """Give the pod-level security context that the `restricted` Pod Security level asks for."""
    return {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "fsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def restricted_container() -> dict[str, Any]:
    """Give the container-level security context that the `restricted` Pod Security level asks for."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
