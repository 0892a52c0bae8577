"""What people see of a local pool: one live screen in a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fairlead_operator.local.backend import LocalPool
from fairlead_operator.local.child import Child

STYLES = {"ready": "green", "starting": "yellow", "draining": "cyan", "stopping": "cyan", "ended": "red"}


def state(child: Child, in_flight: int) -> str:
    """Say in one word how a process is."""
    if not child.alive:
        return "ended"
    if child.leaving:
        return "draining" if in_flight else "stopping"
    return "ready" if child.ready else "starting"


def picture(pool: LocalPool) -> Group:
    """Draw the pool as it is now."""
    table = Table(title=f"pool {pool.pool.name}: {pool.url}", title_justify="left", expand=False)
    for heading in ("process", "state", "pid", "port", "in flight", "up", "log"):
        table.add_column(heading, no_wrap=heading != "log", overflow="fold")
    for child in pool.children:
        running = pool.in_flight.get(child.uid, 0)
        word = state(child, running)
        table.add_row(
            child.name,
            Text(word, style=STYLES[word]),
            str(child.process.pid),
            str(child.port),
            "" if child is pool.router else str(running),
            f"{time.time() - child.started_seconds:.0f} s",
            str(child.log),
        )
    wanted = pool.pool.spec.replicas
    ready = sum(child.ready for child in pool.engines)
    lines = [Text(f"{ready} of {wanted} engines ready; edit {pool.path} and it is taken over; Ctrl-C stops everything")]
    if pool.trouble:
        lines.append(Text(pool.trouble, style="red"))
    return Group(table, *lines)


class Screen:
    """Shows a pool; `refresh` after every change, `say` for what should stay readable."""

    def __init__(self, console: Console, live: Live | None) -> None:
        self._console = console
        self._live = live

    def say(self, line: str) -> None:
        """Print a line as it is, unbroken, so that it can be copied."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def refresh(self, pool: LocalPool) -> None:
        """Show the state, and the news since the last call."""
        while pool.news:
            self.say(pool.news.popleft())
        if self._live:
            self._live.update(picture(pool), refresh=True)


@contextmanager
def screen() -> Iterator[Screen]:
    """Open the screen: live in a terminal, plain elsewhere."""
    console = Console()
    if not console.is_terminal:
        yield Screen(console, None)
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield Screen(console, live)
