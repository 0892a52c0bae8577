"""A child is started again when it dies, and not for ever when it cannot start at all."""

import asyncio
import os
import signal

import pytest

from fairlead_router.workers.child import Child
from fairlead_router.workers.control import Tell

READY = """
import asyncio, json, socket, sys
settings = json.loads(sys.argv[1])
control = socket.socket(fileno=settings["control"])
body = json.dumps([["ready"], ["told", settings["word"]]]).encode()
control.send(len(body).to_bytes(4, "big") + body)
"""
SERVES_UNTIL_TOLD = READY + "control.recv(1)"
ENDS_AT_ONCE = "raise SystemExit(3)"
DEAF = READY + "import time; time.sleep(60)"


class Life:
    """What the callbacks of a child have told."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.started = 0
        self.died = 0
        self.words = []
        self.running = asyncio.create_task(child.run(self._on_start, self._on_message, self._on_death))

    def _on_start(self, _child: Child) -> None:
        self.started += 1

    def _on_message(self, child: Child, message) -> None:
        if message[0] == Tell.READY:
            child.becomes_ready()
        else:
            self.words.append(message[1])

    def _on_death(self, _child: Child) -> None:
        self.died += 1

    @property
    def pid(self) -> int:
        return self.child.pid


@pytest.fixture
async def begin(tmp_path, monkeypatch):
    """Begin the lives of children that run a script."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    lives = []

    def start(script: str) -> Life:
        (tmp_path / "script_of_child.py").write_text(script)
        lives.append(Life(Child("the child", "script_of_child", {"word": "hello"}, [])))
        return lives[-1]

    yield start
    for life in lives:
        life.child.stop()
        life.child.kill()
        await life.running


async def test_a_child_gets_its_settings_and_a_link(begin, kit):
    life = begin(SERVES_UNTIL_TOLD)
    await kit.until(lambda: life.child.ready, "it is ready")
    assert life.words == ["hello"]


async def test_a_child_that_dies_is_started_again(begin, kit):
    life = begin(SERVES_UNTIL_TOLD)
    await kit.until(lambda: life.child.ready, "it is ready")
    os.kill(life.pid, signal.SIGKILL)
    await kit.until(lambda: life.died == 1 and life.started == 2 and life.child.ready, "another is ready")
    assert life.child.deaths == 1
    assert life.words == ["hello", "hello"]


async def test_a_child_that_ends_before_it_was_ever_ready_is_not_started_again(begin):
    life = begin(ENDS_AT_ONCE)
    await asyncio.wait_for(life.running, 10)
    assert (life.started, life.died, life.child.was_ready) == (1, 1, False)


async def test_a_child_that_is_told_to_stop_ends_and_no_other_is_started(begin, kit):
    life = begin(SERVES_UNTIL_TOLD)
    await kit.until(lambda: life.child.ready, "it is ready")
    life.child.stop()
    await asyncio.wait_for(life.running, 10)
    assert (life.started, life.died, life.child.deaths) == (1, 1, 0)


async def test_a_child_that_does_not_listen_can_be_killed(begin, kit):
    life = begin(DEAF)
    await kit.until(lambda: life.child.ready, "it is ready")
    life.child.stop()
    life.child.kill()
    await asyncio.wait_for(life.running, 10)


async def test_a_child_that_is_stopped_while_it_waits_to_be_started_again_is_not(begin, kit):
    life = begin(SERVES_UNTIL_TOLD)
    await kit.until(lambda: life.child.ready, "it is ready")
    os.kill(life.pid, signal.SIGKILL)
    await kit.until(lambda: life.died == 1, "it has died")
    life.child.stop()
    await asyncio.wait_for(life.running, 10)
    assert life.started == 1
