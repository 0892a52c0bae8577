"""The edge to the routers: asks every router of a pool what runs on which engine."""

import asyncio
import json

import aiohttp

from fairlead_operator.api.pool import Pool
from fairlead_operator.kube.api import PODS, Api
from fairlead_operator.plan.metadata import selector
from fairlead_operator.plan.routers import ENDPOINTS_PATH, RouterAddress, report_of, routers_to_ask
from fairlead_operator.types import RouterReport
from fairlead_router.contract import Component

TIMEOUT_SECONDS = 2.0
"""Longest wait for a router's answer: one that is slower cannot be asked."""


class Routers:
    """The routers of all pools."""

    def __init__(self, api: Api, session: aiohttp.ClientSession) -> None:
        self._api = api
        self._session = session

    async def ask(self, pool: Pool) -> tuple[RouterReport, ...]:
        """Ask every router of a pool; one that cannot be asked is in the answer with its trouble.

        Their pods are listed anew, because a router that an old view does not show may have streams.

        Raises
        ------
        ApiError
            The API server does not list the routers' pods.

        """
        chosen = selector(pool.name, Component.ROUTER)
        labels = ",".join(f"{name}={value}" for name, value in chosen.items())
        pods = await self._api.list_all(PODS, pool.namespace, labels)
        return tuple(await asyncio.gather(*(self._ask(router) for router in routers_to_ask(pods))))

    async def _ask(self, router: RouterAddress) -> RouterReport:
        try:
            async with (
                asyncio.timeout(TIMEOUT_SECONDS),
                self._session.get(f"{router.url}{ENDPOINTS_PATH}", allow_redirects=False) as response,
            ):
                if response.status != 200:
                    return RouterReport(router.name, trouble=f"it answers {response.status}")
                return report_of(router.name, json.loads(await response.read()))
        except TimeoutError:
            return RouterReport(router.name, trouble=f"no answer within {TIMEOUT_SECONDS:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return RouterReport(router.name, trouble=str(error) or type(error).__name__)
