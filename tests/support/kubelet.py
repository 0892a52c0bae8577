"""A kubelet's part for tests: the engine pods of a pool as real processes, each on an address of its own.

Pods are on no node, so the API server lets them go at once when they are deleted, and their processes are killed then:
without notice and without grace. With `on_node`, pods are bound to a node and get what a node gives: the preStop sleep,
SIGTERM, and SIGKILL when the grace period is over.
"""

import json
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import randint
from typing import Any

from control_plane import spawn
from pool_on_api import Pool

_ADDRESSES = (f"127.{randint(1, 254)}.{number // 250}.{1 + number % 250}" for number in count())
"""Every address in 127/8 is this machine's, so each engine can have port 8000."""


def bind(pool: Pool, pod: str, node: str) -> None:
    """Do what the scheduler does."""
    about = {"name": pod, "namespace": pool.namespace}
    target = {"apiVersion": "v1", "kind": "Node", "name": node}
    binding = {"apiVersion": "v1", "kind": "Binding", "metadata": about, "target": target}
    path = f"/api/v1/namespaces/{pool.namespace}/pods/{pod}/binding"
    pool.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(binding))


@dataclass
class Running:
    """A pod that runs."""

    process: subprocess.Popen[bytes]
    address: str
    ready: bool = False
    deleted_at: float | None = None
    signalled: bool = False

    def healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.address}:8000/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


class Kubelet:
    """Runs the pool's engine pods."""

    def __init__(self, pool: Pool, folder: Path, on_node: bool) -> None:
        self._pool, self._folder, self._on_node = pool, folder, on_node
        self._running: dict[str, Running] = {}

    def step(self) -> None:
        """Start what is new, report what is ready, end what is deleted, kill what is gone."""
        listed = self._pool.get("pods", "-l", "fairlead.dev/component=engine")["items"]
        pods = {pod["metadata"]["uid"]: pod for pod in listed}
        for uid in set(self._running) - set(pods):
            self._end(self._running.pop(uid))
        for uid, pod in pods.items():
            running = self._running.get(uid)
            if "deletionTimestamp" in pod["metadata"]:
                self._terminate(pod, running)
                continue
            if running is None:
                self._running[uid] = running = self._start(pod)
                self._report(pod, running)
            if not running.ready and running.healthy():
                running.ready = True
                self._report(pod, running)

    def stop(self) -> None:
        for running in self._running.values():
            self._end(running)

    def _start(self, pod: dict[str, Any]) -> Running:
        container, address = pod["spec"]["containers"][0], next(_ADDRESSES)
        if self._on_node:
            bind(self._pool, pod["metadata"]["name"], "node")
        program = str(Path(sys.executable).with_name(container["command"][0]))
        arguments = [address if argument == "0.0.0.0" else argument for argument in container["args"]]
        log = self._folder / f"{pod['metadata']['name']}-{pod['metadata']['uid'][:8]}.log"
        return Running(spawn([program, *arguments], log), address)

    def _terminate(self, pod: dict[str, Any], running: Running | None) -> None:
        """Take one step of the end of a deleted pod."""
        if running is not None and running.process.poll() is None:
            sleep = pod["spec"]["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
            running.deleted_at = running.deleted_at or time.monotonic()
            passed = time.monotonic() - running.deleted_at
            if passed >= pod["metadata"]["deletionGracePeriodSeconds"]:
                running.process.kill()
            elif passed >= sleep and not running.signalled:
                running.process.terminate()
                running.signalled = True
            return
        name = pod["metadata"]["name"]
        force = ("-n", self._pool.namespace, "delete", "pod", name, "--grace-period=0", "--force", "--wait=false")
        self._pool.cluster.kubectl(*force, check=False)

    def _report(self, pod: dict[str, Any], running: Running) -> None:
        conditions = [{"type": "Ready", "status": str(running.ready)}]
        status = {"phase": "Running", "podIP": running.address, "conditions": conditions}
        arguments = ("--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))
        where = ("-n", self._pool.namespace, "patch", "pod", pod["metadata"]["name"])
        self._pool.cluster.kubectl(*where, *arguments, check=False)  # it may be gone by now

    @staticmethod
    def _end(running: Running) -> None:
        running.process.kill()
        running.process.wait()


@contextmanager
def kubelet(pool: Pool, folder: Path, *, on_node: bool = False) -> Iterator[None]:
    """Run the pool's engine pods while the context is open."""
    made, stopped = Kubelet(pool, folder, on_node), threading.Event()

    def work() -> None:
        while not stopped.wait(0.2):
            made.step()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
        made.stop()
