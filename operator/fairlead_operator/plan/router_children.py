"""The router's objects: Deployment, Service, ConfigMap, and a ServiceAccount that may read pods and its ConfigMap."""

from typing import Any

from fairlead_operator.api.pool import Pool
from fairlead_operator.plan.commands import router_command
from fairlead_operator.plan.metadata import (
    labels,
    metadata,
    restricted_container,
    restricted_pod,
    router_name,
    selector,
)
from fairlead_operator.plan.router_files import mounts, volumes, with_files
from fairlead_operator.types import Images
from fairlead_router.contract import ADMIN_PORT, CONFIG_KEY, DATA_PORT, Component

ENDPOINTS_NOTICE_SECONDS = 5
"""Between a router pod's deletion and its SIGTERM, so that Services and gateways have stopped sending to it."""

SHUTDOWN_SECONDS = 300
"""What streams that run through a router get to finish after its SIGTERM."""


def router_children(pool: Pool, images: Images) -> list[dict[str, Any]]:
    """Give the manifests of everything around the pool's router, in the order in which they are applied."""
    return [
        _child(pool, "v1", "ServiceAccount", router_name(pool.name), automountServiceAccountToken=False),
        _role(pool),
        _role_binding(pool),
        _config_map(pool),
        _service(pool),
        _deployment(pool, images),
    ]


def _child(pool: Pool, api_version: str, kind: str, name: str, **content: Any) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata(pool, name, Component.ROUTER), **content}


def _role(pool: Pool) -> dict[str, Any]:
    name = router_name(pool.name)
    return _child(
        pool,
        "rbac.authorization.k8s.io/v1",
        "Role",
        name,
        rules=[
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
            {
                "apiGroups": [""],
                "resources": ["configmaps"],
                "resourceNames": [name],
                "verbs": ["get", "list", "watch"],
            },
        ],
    )


def _role_binding(pool: Pool) -> dict[str, Any]:
    name = router_name(pool.name)
    return _child(
        pool,
        "rbac.authorization.k8s.io/v1",
        "RoleBinding",
        name,
        roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        subjects=[{"kind": "ServiceAccount", "name": name, "namespace": pool.namespace}],
    )


def _config_map(pool: Pool) -> dict[str, Any]:
    config = with_files(pool.spec.router_config(pool.name), pool.spec.router)
    return _child(pool, "v1", "ConfigMap", router_name(pool.name), data={CONFIG_KEY: config.to_yaml()})


def _service(pool: Pool) -> dict[str, Any]:
    service, scheme = pool.spec.router.service, _scheme(pool)
    return _child(
        pool,
        "v1",
        "Service",
        pool.name,
        spec={
            "type": service.type,
            "selector": selector(pool.name, Component.ROUTER),
            "ports": [
                {
                    "name": scheme,
                    "appProtocol": scheme,
                    "port": service.port,
                    "targetPort": scheme,
                    "protocol": "TCP",
                }
            ],
        },
    )


def _scheme(pool: Pool) -> str:
    """Name the data port: gateways and people read there how to speak to it."""
    return "https" if pool.spec.router.tls else "http"


def _deployment(pool: Pool, images: Images) -> dict[str, Any]:
    chosen = selector(pool.name, Component.ROUTER)
    return _child(
        pool,
        "apps/v1",
        "Deployment",
        router_name(pool.name),
        spec={
            "replicas": pool.spec.router.replicas,
            "selector": {"matchLabels": chosen},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {
                "metadata": {"labels": labels(pool.name, Component.ROUTER)},
                "spec": _router_pod_spec(pool, images, chosen),
            },
        },
    )


def _router_pod_spec(pool: Pool, images: Images, chosen: dict[str, str]) -> dict[str, Any]:
    arguments = ["--pool", pool.name, "--namespace", pool.namespace]
    arguments += ["--port", str(DATA_PORT), "--admin-port", str(ADMIN_PORT)]
    arguments += ["--shutdown-timeout", str(SHUTDOWN_SECONDS)]
    router = pool.spec.router
    command, *arguments = router_command(pool.spec, arguments)
    return {
        "serviceAccountName": router_name(pool.name),
        "automountServiceAccountToken": True,
        "enableServiceLinks": False,
        "securityContext": restricted_pod(),
        "terminationGracePeriodSeconds": ENDPOINTS_NOTICE_SECONDS + SHUTDOWN_SECONDS + 15,
        "containers": [
            {
                "name": "router",
                "image": images.router,
                "imagePullPolicy": images.pull_policy,
                "command": [command],
                "args": arguments,
                "ports": [
                    {"name": _scheme(pool), "containerPort": DATA_PORT, "protocol": "TCP"},
                    {"name": "admin", "containerPort": ADMIN_PORT, "protocol": "TCP"},
                ],
                "readinessProbe": {"httpGet": {"path": "/ready", "port": "admin"}, "periodSeconds": 2},
                "livenessProbe": {
                    "httpGet": {"path": "/health", "port": "admin"},
                    "periodSeconds": 10,
                    "timeoutSeconds": 5,
                    "failureThreshold": 6,
                },
                "lifecycle": {"preStop": {"sleep": {"seconds": ENDPOINTS_NOTICE_SECONDS}}},
                "resources": {"requests": {"cpu": f"{50 * router.workers}m", "memory": f"{128 * router.workers}Mi"}},
                "volumeMounts": mounts(router),
                "securityContext": restricted_container(),
            }
        ],
        "volumes": volumes(router),
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": chosen},
            }
        ],
    }
