"""The decider process: `python -m fairlead_router.workers.decider SETTINGS`, started by the supervisor."""

import asyncio
import os
import socket
import struct
import sys
import time
from dataclasses import dataclass
from random import Random

import orjson
import uvloop

from fairlead_router import garbage
from fairlead_router.config import RouterConfig
from fairlead_router.decisions.admission import Admission
from fairlead_router.decisions.decider import Decider
from fairlead_router.decisions.journal import Journal
from fairlead_router.decisions.policies import POLICIES
from fairlead_router.process import leave_to_parent_what_terminals_say, set_up_logging
from fairlead_router.settings import configure, queue_limits, rules_of
from fairlead_router.workers.control import (
    REPORT_SECONDS,
    Report,
    Shown,
    Tell,
    config_in,
    decisions_told,
    reports_in,
    tripped,
)
from fairlead_router.workers.decider_server import DeciderServer
from fairlead_router.workers.link import Link, Message


@dataclass(frozen=True, slots=True)
class Settings:
    """What the supervisor says at the start: descriptors of its link and of the listening socket, and the log level."""

    control: int
    listener: int
    log_level: str


class DeciderProcess:
    """Follows the supervisor, and serves workers until the supervisor hangs up."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._server: DeciderServer | None = None
        self._journal = Journal()
        self._random = Random()  # noqa: S311 - spreads load, guards nothing
        self._over = asyncio.Event()
        self._control = Link(self._receive, self._over.set)

    async def run(self) -> None:
        """Serve until the end."""
        await self._control.attach(socket.socket(fileno=self._settings.control))
        async with asyncio.TaskGroup() as tasks:
            accepting = tasks.create_task(self._accept())
            reporting = tasks.create_task(self._report_for_ever())
            await self._over.wait()
            accepting.cancel()
            reporting.cancel()
        if self._server is not None:
            self._server.close()
        self._control.close()

    def _receive(self, message: Message) -> None:
        match message[0]:
            case Tell.CONFIG:
                self._follow(config_in(message))
            case Tell.ENDPOINTS if self._server is not None:
                shown = Shown.of(message)
                self._server.decider.set_endpoints(shown.endpoints)
                self._server.placing.look_again()
                self._server.open()
                self._control.send((Tell.READY.value,))
            case Tell.REPORT:
                self._report()
            case Tell.ENGINES if self._server is not None:
                self._server.decider.note_reports(reports_in(message), self._server.clock())
                self._server.placing.look_again()
            case Tell.DECISIONS:
                self._control.send(decisions_told(message, self._journal))
            case Tell.STOP:
                self._over.set()

    def _follow(self, config: RouterConfig) -> None:
        if self._server is None:
            policy, admission = POLICIES[config.policy](self._random), Admission(rules_of(config), queue_limits(config))
            decider = Decider(policy, admission=admission, journal=self._journal)
            self._server = DeciderServer(decider, time.monotonic)
            self._journal.policy = config.policy
            garbage.settle()  # before the first request
        elif config.policy != self._journal.policy:
            self._server.decider.set_policy(POLICIES[config.policy](self._random), config.policy)
        configure(self._server.decider, config)
        self._server.placing.look_again()

    def _report(self) -> None:
        if self._server is not None:
            endpoints = self._server.decider.endpoints(self._server.clock())
            errors = {endpoint.uid: endpoint.prediction_error for endpoint in endpoints}
            self._control.send(Report(tripped(endpoints), errors).message())

    async def _report_for_ever(self) -> None:
        while True:
            await asyncio.sleep(REPORT_SECONDS)
            self._report()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        with socket.socket(fileno=self._settings.listener) as listener:
            listener.setblocking(False)
            while True:
                sock, _ = await loop.sock_accept(listener)
                if self._server is not None and _is_ours(sock):
                    await self._server.accept(sock)
                else:
                    sock.close()


def _is_ours(sock: socket.socket) -> bool:
    """Whether a process of this user is at the other end: an abstract address has no permissions."""
    _pid, uid, _gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return bool(uid == os.geteuid())


async def _run(settings: Settings) -> None:
    await DeciderProcess(settings).run()


def main() -> None:
    """Run the process."""
    settings = Settings(**orjson.loads(sys.argv[1]))
    leave_to_parent_what_terminals_say()
    set_up_logging(settings.log_level, "decider")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(settings))


if __name__ == "__main__":
    main()
