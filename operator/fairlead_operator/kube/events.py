"""Events on a pool, for `kubectl describe`: what the operator did, and what it could not do."""

import logging
from datetime import UTC, datetime
from uuid import uuid4

from fairlead_operator.api.conditions import EventReason
from fairlead_operator.errors import ApiError
from fairlead_operator.kube.api import EVENTS, Api
from fairlead_operator.plan.metadata import MANAGED_BY
from fairlead_operator.types import Manifest

logger = logging.getLogger(__name__)

NOTE_LENGTH = 1024
"""Longest note that the API allows."""


class Events:
    """Posts Events. An Event that cannot be posted is logged and costs nothing else."""

    def __init__(self, api: Api, identity: str) -> None:
        self._api = api
        self._identity = identity

    async def note(self, pool: Manifest, reason: EventReason, text: str) -> None:
        """Say what was done."""
        await self._post(pool, "Normal", reason, text)

    async def warn(self, pool: Manifest, reason: EventReason, text: str) -> None:
        """Say what stands in the way."""
        await self._post(pool, "Warning", reason, text)

    async def _post(self, pool: Manifest, kind: str, reason: EventReason, text: str) -> None:
        metadata = pool["metadata"]
        event = {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"name": f"{metadata['name']}.{uuid4().hex[:16]}", "namespace": metadata["namespace"]},
            "eventTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "reportingController": f"fairlead.dev/{MANAGED_BY}",
            "reportingInstance": self._identity,
            "action": reason.value,
            "reason": reason.value,
            "type": kind,
            "note": text[:NOTE_LENGTH],
            "regarding": {
                "apiVersion": pool["apiVersion"],
                "kind": pool["kind"],
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata["uid"],
            },
        }
        try:
            await self._api.create(event)
        except ApiError as error:
            logger.warning("%s/%s: event not posted: %s", metadata["namespace"], metadata["name"], error)
