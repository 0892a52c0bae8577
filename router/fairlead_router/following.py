"""Follow what a configuration points to: keys, certificates, where traces and access lines go.

A configuration names files; these change while the router runs, and so may the configuration. Everything here keeps
what it had when something new cannot be used, and says so in the log and in the metric `config_errors`.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Protocol

from fairlead_router.config import RouterConfig
from fairlead_router.files import follow_files
from fairlead_router.identity.follow import follow_keys
from fairlead_router.identity.gate import Gate
from fairlead_router.identity.keys import KeyRing
from fairlead_router.router import Router
from fairlead_router.tls import ClientTls, ServerTls

logger = logging.getLogger(__name__)


class Reloaded(Protocol):
    """Something made from files."""

    @property
    def files(self) -> Sequence[Path]: ...  # noqa: D102 - what to follow
    def reload(self) -> None: ...  # noqa: D102 - read them again; a ValueError leaves everything as it was


class Following:
    """Async context manager; while it is open, the router follows its files."""

    def __init__(self, router: Router) -> None:
        """Read certificates.

        Raises
        ------
        ValueError
            A certificate cannot be used.

        """
        self._router = router
        self._tasks: dict[str, asyncio.Task[None]] = {}
        config = router.config
        self.server_tls = ServerTls(config.tls) if config.tls else None
        """TLS towards clients; whether there is any is decided once."""
        self.client_tls = ClientTls(config.engine_tls) if config.engine_tls else None
        """TLS towards engines."""
        self._keys_file: str | None = None

    def start(self) -> None:
        """Begin to follow; called in the event loop."""
        self._follow_tls("tls", self.server_tls)
        self._follow_tls("engineTls", self.client_tls)
        self._follow_keys(self._router.config)
        self._router.followers.append(self.apply)

    async def aclose(self) -> None:
        """Follow nothing any more."""
        tasks = tuple(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def apply(self, config: RouterConfig) -> None:
        """Follow another configuration.

        Raises
        ------
        ValueError
            A certificate of the engines' side cannot be used.

        """
        if config.engine_tls != self._router.config.engine_tls:
            self.client_tls = ClientTls(config.engine_tls) if config.engine_tls else None
            self._follow_tls("engineTls", self.client_tls)
        if config.tls != self._router.config.tls:
            logger.warning("tls: whether and how clients are spoken to by TLS changes only with a restart")
        self._follow_keys(config)

    def _follow_keys(self, config: RouterConfig) -> None:
        keys_file = config.auth.keys_file if config.auth else None
        if keys_file == self._keys_file:
            return
        self._keys_file = keys_file
        # Nobody is let in before the keys have been read; without keys everybody is.
        self._router.gate = Gate(KeyRing()) if keys_file else Gate()
        if keys_file is None:
            self._stop("keys")
        else:
            self._begin("keys", follow_keys(Path(keys_file), self._use_keys, self._router.refuse_config))

    def _use_keys(self, keys: KeyRing) -> None:
        self._router.gate = Gate(keys)
        logger.info("%d API keys are known", len(keys.principals))

    def _follow_tls(self, name: str, tls: Reloaded | None) -> None:
        if tls is None or not tls.files:
            self._stop(name)
            return
        reload: Callable[[object], None] = lambda _contents: tls.reload()  # noqa: E731 - typed so
        self._begin(name, follow_files(tls.files, reload, self._router.refuse_config))

    def _begin(self, name: str, following: Coroutine[None, None, None]) -> None:
        self._stop(name)
        self._tasks[name] = asyncio.get_running_loop().create_task(following)

    def _stop(self, name: str) -> None:
        task = self._tasks.pop(name, None)
        if task is not None:
            task.cancel()
