"""The list of models that `GET /v1/models` answers with."""

import asyncio
import logging
from typing import Any

import orjson

from fairlead_router.contract import EndpointState, Reason
from fairlead_router.errors import RequestError
from fairlead_router.identity.keys import Principal
from fairlead_router.router import Router
from fairlead_router.upstream.ask import ask
from fairlead_router.upstream.errors import UpstreamError
from fairlead_router.upstream.pool import Pool

logger = logging.getLogger(__name__)

ASK_SECONDS = 5.0
"""What an engine gets to list its models; the answer does not depend on its load."""


class Models:
    """The configured names or, where none are configured, what the ready engines say."""

    def __init__(self, router: Router, pool: Pool) -> None:
        self._router = router
        self._pool = pool

    async def listed(self, caller: Principal) -> list[dict[str, Any]]:
        """Return OpenAI's model objects that the caller may use.

        Raises
        ------
        RequestError
            No model is configured and no engine can be asked.

        """
        configured = self._router.config.models
        if configured:
            known: list[dict[str, Any]] = [
                {"id": name, "object": "model", "created": 0, "owned_by": "fairlead"} for name in configured
            ]
        else:
            known = await self._asked()
        return [model for model in known if caller.may_use_model(model["id"])]

    async def _asked(self) -> list[dict[str, Any]]:
        addresses = [e.address for e in self._router.endpoints() if e.state is EndpointState.READY]
        answers = await asyncio.gather(*(self._ask(address) for address in addresses))
        heard = [answer for answer in answers if answer is not None]
        if not heard:
            raise RequestError(Reason.NO_ENDPOINT, f"no engine lists its models ({len(addresses)} asked)")
        return list({model["id"]: model for answer in heard for model in answer}.values())

    async def _ask(self, address: str) -> list[dict[str, Any]] | None:
        try:
            answer = await ask(self._pool, address, "/v1/models", seconds=ASK_SECONDS)
            models = orjson.loads(answer.body)["data"]
            return [model for model in models if isinstance(model["id"], str)]
        except (UpstreamError, TimeoutError, orjson.JSONDecodeError, KeyError, TypeError) as error:
            logger.warning("engine %s does not list its models: %r", address, error)
            return None
