"""Leader election: one operator acts, others wait; an operator that loses the lease stops at once."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import aiohttp
from kubernetes.aio.client import ApiClient, CoordinationV1Api, V1Lease, V1ObjectMeta
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from kubernetes.aio.leaderelection.resourcelock.leaselock import LeaseLock

logger = logging.getLogger(__name__)

LEASE_SECONDS = 15
"""After which another operator may take over from one that was lost."""
RENEW_SECONDS = 10
"""After which an operator that cannot renew its lease stops: before another may start."""
RETRY_SECONDS = 2


class LeaseLostError(Exception):
    """Another operator may be active by now."""


class Lease:
    """A Lease object that at most one operator holds."""

    def __init__(self, client: ApiClient, namespace: str, name: str, identity: str) -> None:
        self._client = client
        self._lock = _PatientLock(name, namespace, identity, client)

    async def hold(self, lead: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Wait for the lease, then run `lead` for as long as it is held; give it back when `lead` ends.

        Raises
        ------
        LeaseLostError
            The lease could not be renewed; `lead` was cancelled.

        """
        config = Config(self._lock, LEASE_SECONDS, RENEW_SECONDS, RETRY_SECONDS, _nothing, None)
        election = LeaderElection(config)
        logger.info("waiting for lease %s/%s", self._lock.namespace, self._lock.name)
        await election.acquire()
        logger.info("leading as %s", self._lock.identity)
        leading = asyncio.create_task(lead(), name="lead")
        renewing = asyncio.create_task(election.renew_loop(), name="renew the lease")
        try:
            await asyncio.wait({leading, renewing}, return_when=asyncio.FIRST_COMPLETED)
            if renewing.done():
                raise LeaseLostError(f"lease {self._lock.namespace}/{self._lock.name} was not renewed in time")
            await leading
        finally:
            renewing.cancel()
            leading.cancel()
            await asyncio.gather(leading, renewing, return_exceptions=True)
        await self._release()

    async def _release(self) -> None:
        """Let the next operator start now and not when the lease has run out."""
        body = [
            {"op": "test", "path": "/spec/holderIdentity", "value": self._lock.identity},
            {"op": "replace", "path": "/spec/holderIdentity", "value": ""},
        ]
        with contextlib.suppress(ApiException, aiohttp.ClientError, TimeoutError):
            async with asyncio.timeout(RETRY_SECONDS):
                await CoordinationV1Api(self._client).patch_namespaced_lease(
                    self._lock.name, self._lock.namespace, body
                )
                logger.info("gave the lease back")


async def _nothing() -> None:
    """Stand where the library wants a callback; `hold` runs the leader itself, to see it end."""


class _PatientLock(LeaseLock):  # type: ignore[misc] # the library is untyped
    """A lock for which an API server that does not answer is a failed attempt, not an exception."""

    async def get(self, name: str, namespace: str) -> Any:
        try:
            async with asyncio.timeout(RENEW_SECONDS / 2):
                return await super().get(name, namespace)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return False, ApiException(status=0, reason=str(error) or type(error).__name__)

    async def create(self, name: str, namespace: str, election_record: Any) -> bool:
        """Create the Lease; kubernetes 37.0.2's own method passes a parameter that its client refuses."""
        body = V1Lease(metadata=V1ObjectMeta(name=name), spec=self.update_lease(election_record))
        try:
            await self.api_instance.create_namespaced_lease(namespace, body)
        except (ApiException, aiohttp.ClientError, TimeoutError, OSError) as error:
            logger.warning("lease %s/%s not created: %s", namespace, name, error)
            return False
        return True

    async def update(self, name: str, namespace: str, updated_record: Any) -> bool:
        try:
            async with asyncio.timeout(RENEW_SECONDS / 2):
                return bool(await super().update(name, namespace, updated_record))
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False
