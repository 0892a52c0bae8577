"""Who may come in, and with what: a request's key, its service class and its model."""

from collections.abc import Collection
from dataclasses import replace

from fairlead_router.contract import Reason
from fairlead_router.errors import RequestError
from fairlead_router.http1.messages import RawHeaders
from fairlead_router.identity.claims import claimed_tenant, dropped_headers
from fairlead_router.identity.credentials import key_of
from fairlead_router.identity.keys import ANYONE, KeyRing, Principal


class Gate:
    """Identifies callers by a ring of keys; without a ring everybody is `ANYONE`.

    An empty ring lets nobody in: it stands for keys that are configured and could not be read.
    """

    __slots__ = ("_keys",)

    def __init__(self, keys: KeyRing | None = None) -> None:
        self._keys = keys

    def identify(self, headers: RawHeaders) -> Principal:
        """Return who sends a request; a trusted caller may name the tenant.

        Raises
        ------
        RequestError
            The request carries no key, two, or one that is not known. The message holds no part of it.

        """
        if self._keys is None:
            return ANYONE
        key = key_of(headers)
        if key is None:
            raise RequestError(
                Reason.INVALID_API_KEY, "an API key is needed: send `Authorization: Bearer KEY` or `x-api-key: KEY`"
            )
        principal = self._keys.principal(key)
        if principal is None:
            raise RequestError(Reason.INVALID_API_KEY, "the API key is not known here")
        if principal.trusted and (tenant := claimed_tenant(headers)):
            return replace(principal, tenant=tenant)
        return principal

    def dropped(self, principal: Principal) -> frozenset[bytes]:
        """Return the headers of this caller's requests that must not go to an engine."""
        return dropped_headers(auth=self._keys is not None, trusted=principal.trusted)


def default_class(principal: Principal, declared: Collection[str], default: str) -> str:
    """Return the class of a request that names none: the pool's default, else the key's first that the pool declares.

    Raises
    ------
    RequestError
        The key allows no class of the pool.

    """
    if principal.may_use_class(default):
        return default
    for name in principal.classes or ():
        if name in declared:
            return name
    raise _class_refused(principal)


def check_class(principal: Principal, service_class: str) -> None:
    """Refuse a class that the key does not allow.

    Raises
    ------
    RequestError
        It does not; the message names those that it allows.

    """
    if not principal.may_use_class(service_class):
        raise _class_refused(principal)


def check_model(principal: Principal, model: str) -> None:
    """Refuse a model that the key does not allow; of a limited key, also a request that names none.

    An engine that is not told a model takes its own, and the key may not be meant for that one.

    Raises
    ------
    RequestError
        It does not; the message names those that it allows.

    """
    if not principal.may_use_model(model):
        asked = f"not the model {model!r:.100}" if model else "and the request names none that the router can see"
        raise RequestError(
            Reason.MODEL_NOT_ALLOWED,
            f"this API key may use {', '.join(principal.models or ())}, {asked}",
            param="model",
        )


def _class_refused(principal: Principal) -> RequestError:
    allowed = ", ".join(principal.classes or ())
    return RequestError(Reason.CLASS_NOT_ALLOWED, f"this API key may use these classes only, by x-slo-class: {allowed}")
