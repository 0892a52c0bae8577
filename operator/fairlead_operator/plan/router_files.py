"""Files that the router reads from Secrets: API keys and its certificate.

One volume holds all of them, flat in one folder, and kubelet renews them when a Secret changes; the router follows.
Only the keys that are needed are taken from each Secret, under fixed names. One volume, and not one each, because a
list of sources is compared as a whole: leaving one out of the spec takes it out of the pod.
"""

from collections.abc import Sequence
from typing import Any

from fairlead_operator.api.router import RouterSpec
from fairlead_router.config import Auth, RouterConfig, Tls

FOLDER = "/etc/fairlead/secrets"
VOLUME = "secrets"

_KEYS, _CERTIFICATE, _PRIVATE_KEY, _CLIENT_CA = "keys.yaml", "tls.crt", "tls.key", "ca.crt"


def with_files(config: RouterConfig, router: RouterSpec) -> RouterConfig:
    """Tell a router where its files are."""
    auth = Auth(keys_file=f"{FOLDER}/{_KEYS}") if router.auth else None
    return config.model_copy(update={"auth": auth, "tls": _tls(router)})


def _tls(router: RouterSpec) -> Tls | None:
    if router.tls is None:
        return None
    client_ca = f"{FOLDER}/{_CLIENT_CA}" if router.tls.client_auth else None
    return Tls(certificate=f"{FOLDER}/{_CERTIFICATE}", key=f"{FOLDER}/{_PRIVATE_KEY}", client_ca=client_ca)


def volumes(router: RouterSpec) -> list[dict[str, Any]]:
    """Give the pod's volumes."""
    sources = [
        {"secret": {"name": secret, "items": [{"key": key, "path": path} for key, path in items]}}
        for secret, items in _needed(router)
    ]
    # Read by the router alone, which is in the group that the volume gets.
    return [{"name": VOLUME, "projected": {"sources": sources, "defaultMode": 0o440}}] if sources else []


def mounts(router: RouterSpec) -> list[dict[str, Any]]:
    """Give the mounts of the router's container."""
    return [{"name": VOLUME, "mountPath": FOLDER, "readOnly": True}] if _needed(router) else []


def needs(router: RouterSpec) -> str:
    """Say which Secrets must exist before a router pod can start; empty where none must."""
    return " and ".join(
        f"Secret {secret} with {', '.join(key for key, _ in items)}" for secret, items in _needed(router)
    )


def _needed(router: RouterSpec) -> Sequence[tuple[str, Sequence[tuple[str, str]]]]:
    """List the Secrets, each with its keys and the names of the files that they become."""
    needed: list[tuple[str, Sequence[tuple[str, str]]]] = []
    if router.auth is not None:
        needed.append((router.auth.secret_ref.name, [(router.auth.secret_ref.key, _KEYS)]))
    if router.tls is not None:
        names = [_CERTIFICATE, _PRIVATE_KEY, *([_CLIENT_CA] if router.tls.client_auth else [])]
        needed.append((router.tls.secret_ref.name, [(name, name) for name in names]))
    return needed
