"""Follow what a configuration points to: API keys and certificates.

A configuration names files; these change while the router runs, and so may the configuration. Everything here keeps
what it had when something new cannot be used, and says so in the log and in the metric `config_errors`.
"""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Final

from fairlead_router.config import RouterConfig, Tls
from fairlead_router.files import follow_files
from fairlead_router.identity.follow import follow_keys
from fairlead_router.identity.gate import Gate
from fairlead_router.identity.keys import KeyRing
from fairlead_router.router import Router
from fairlead_router.tls import ClientTls, ServerTls, files_of

logger = logging.getLogger(__name__)


_KEYS: Final = "API keys"
_CERTIFICATE: Final = "certificate"


class Following:
    """Async context manager; while it is open, the router follows its files."""

    def __init__(self, router: Router) -> None:
        """Read the certificates of the engines' side.

        Raises
        ------
        ValueError
            One cannot be used.

        """
        self._router = router
        self._tasks: dict[str, asyncio.Task[None]] = {}
        engine_tls = router.config.engine_tls
        self.client_tls = ClientTls(engine_tls) if engine_tls else None
        """TLS towards engines."""
        self.server_tls: ServerTls | None = None
        """TLS towards clients; None is plain HTTP, once `read` is set."""
        self.read = asyncio.Event()
        """Set once there is a configuration and everything that it points to has been read; clients wait for that."""
        self._keys_file: str | None = None
        self._begun = False

    def start(self) -> None:
        """Begin to follow; called in the event loop."""
        self._follow_client_tls()
        if self._router.config_loaded:
            self._begin_with(self._router.config)
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
            self._follow_client_tls()
        if not self._begun:
            self._begin_with(config)
            return
        if config.tls != self._router.config.tls:
            logger.warning("tls: whether and how clients are spoken to by TLS changes only with a restart")
        self._follow_keys(config)

    def _begin_with(self, config: RouterConfig) -> None:
        """Read what the first configuration points to."""
        self._begun = True
        self._follow_server_tls(config.tls)
        self._follow_keys(config)
        self._note_read()

    def _found(self, what: str) -> None:
        self._router.found(what)
        self._note_read()

    def _note_read(self) -> None:
        if not self._router.awaited:
            self.read.set()

    def _follow_keys(self, config: RouterConfig) -> None:
        keys_file = config.auth.keys_file if config.auth else None
        if keys_file == self._keys_file:
            return
        self._keys_file = keys_file
        # Nobody is let in before the keys have been read; without keys everybody is.
        self._router.gate = Gate(KeyRing()) if keys_file else Gate()
        if keys_file is None:
            self._stop("keys")
            self._found(_KEYS)
        else:
            self._router.awaited.add(_KEYS)
            self._begin("keys", follow_keys(Path(keys_file), self._use_keys, self._router.refuse_config))

    def _use_keys(self, keys: KeyRing) -> None:
        self._router.gate = Gate(keys)
        self._found(_KEYS)
        logger.info("%d API keys are known", len(keys.principals))

    def _follow_server_tls(self, config: Tls | None) -> None:
        if config is None:
            return
        self._router.awaited.add(_CERTIFICATE)

        def use(_contents: Sequence[bytes]) -> None:
            if self.server_tls is None:
                self.server_tls = ServerTls(config)
                self._found(_CERTIFICATE)
            else:
                self.server_tls.reload()

        self._begin("tls", follow_files(files_of(config), use, self._router.refuse_config))

    def _follow_client_tls(self) -> None:
        tls = self.client_tls
        if tls is None or not tls.files:
            self._stop("engineTls")
            return

        def use(_contents: Sequence[bytes]) -> None:
            tls.reload()

        self._begin("engineTls", follow_files(tls.files, use, self._router.refuse_config))

    def _begin(self, name: str, following: Coroutine[None, None, None]) -> None:
        self._stop(name)
        self._tasks[name] = asyncio.get_running_loop().create_task(following)

    def _stop(self, name: str) -> None:
        task = self._tasks.pop(name, None)
        if task is not None:
            task.cancel()


def check_files(config: RouterConfig) -> None:
    """Refuse a configuration whose files cannot be used now.

    Raises
    ------
    ValueError
        The message names the field, the file and what is wrong.

    """
    if config.tls is not None:
        ServerTls(config.tls)
    if config.engine_tls is not None:
        ClientTls(config.engine_tls)
    if config.auth is not None:
        path = config.auth.keys_file
        try:
            KeyRing.from_yaml(Path(path).read_text())
        except OSError as error:
            raise ValueError(f"auth.keysFile: cannot read {path}: {error.strerror}") from error
        except ValueError as error:
            raise ValueError(f"auth.keysFile: {path}: {error}") from None
