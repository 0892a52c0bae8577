"""`fairlead top`: endpoints, queue and classes of a pool, live in the terminal."""

import json
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fairlead_router.console import words
from fairlead_router.console.admin import Admin, AdminError, asks_routers, chosen, get_json
from fairlead_router.console.figures import Scrape, Stretch

Endpoint = Mapping[str, Any]
"""As `GET /admin/v1/endpoints` shows one; `inFlight` is of all routers together."""


@click.command("top", context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--interval", type=click.FloatRange(min=0.1), default=1.0, show_default=True, help="Seconds between looks."
)
@click.option(
    "--window", type=click.FloatRange(min=1), default=30.0, show_default=True, help="Seconds that figures are of."
)
@click.option("--once", is_flag=True, help="Look once, and print what has been since the routers began.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, a line per look.")
@asks_routers
def top(
    interval: float,
    window: float,
    once: bool,
    as_json: bool,
    urls: Sequence[str],
    pool: str | None,
    namespace: str | None,
) -> None:
    """Show a pool live: its endpoints, what waits, and how each class fares.

    Good is the share of the requests which have ended that met the TTFT and TBT limits of their class. Ctrl-C ends it.

    \b
      fairlead top                          the router on this machine
      fairlead top --pool chat -n prod      all routers of a pool, through kubectl
      fairlead top --once --json            one look, for scripts
    """  # noqa: D301 - click wants the control character
    looks = Looks(chosen(urls, pool, namespace), window)
    if once or as_json:
        _print_looks(looks, interval, once=once, as_json=as_json)
        return
    with Live(_screen(looks.look()), screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(interval)
            try:
                live.update(_screen(looks.look()), refresh=True)
            except AdminError as error:  # a router that restarts comes back
                live.update(Text(error.message, style="red"), refresh=True)


def _print_looks(looks: "Looks", interval: float, *, once: bool, as_json: bool) -> None:
    while True:
        look = looks.look()
        if as_json:
            click.echo(json.dumps(look.document()))
        else:
            Console(highlight=False).print(_screen(look))
        if once:
            return
        time.sleep(interval)


@dataclass(frozen=True, slots=True)
class Look:
    """What is seen at one moment."""

    endpoints: Sequence[Endpoint]
    stretch: Stretch
    routers: int

    def document(self) -> dict[str, Any]:
        """Return it as JSON has it; times in seconds."""
        return {
            "routers": self.routers,
            "seconds": self.stretch.seconds,
            "classes": [asdict(figures) for figures in self.stretch.classes()],
            "endpoints": [{**each, **asdict(self.stretch.endpoint(each["name"]))} for each in self.endpoints],
        }


class Looks:
    """Looks at routers again and again, and remembers those of the last `window` seconds."""

    def __init__(self, routers: Sequence[Admin], window: float) -> None:
        self._routers = routers
        self._window = window
        self._seen: deque[tuple[float, Scrape]] = deque()

    def look(self) -> Look:
        """Look.

        Raises
        ------
        AdminError
            A router cannot be asked.

        """
        now = time.monotonic()
        scrape = Scrape(router.get("/metrics").decode() for router in self._routers)
        endpoints = merged([get_json(router, "/admin/v1/endpoints") for router in self._routers])
        while len(self._seen) > 1 and self._seen[1][0] <= now - self._window:
            self._seen.popleft()
        at, before = self._seen[0] if self._seen else (None, None)
        self._seen.append((now, scrape))
        return Look(endpoints, Stretch(scrape, before, None if at is None else now - at), len(self._routers))


def merged(by_router: Sequence[Sequence[Endpoint]]) -> list[Endpoint]:
    """Return the endpoints that any router knows; requests in flight are added up."""
    together: dict[str, dict[str, Any]] = {}
    for endpoints in by_router:
        for endpoint in endpoints:
            known = together.setdefault(endpoint["uid"], {**endpoint, "inFlight": 0})
            known["inFlight"] += endpoint["inFlight"]
    return sorted(together.values(), key=lambda endpoint: str(endpoint["name"]))


def _screen(look: Look) -> RenderableType:
    seconds = look.stretch.seconds
    of = f"the last {seconds:.0f} s" if seconds else "all since the routers began"
    ready = sum(endpoint["state"] == "ready" for endpoint in look.endpoints)
    said = f"{time.strftime('%H:%M:%S')}  {words.number(look.routers, 'router')}, {ready} of {len(look.endpoints)} endpoints ready; {of}"
    return Group(Text(said, style="bold"), Text(), _classes(look.stretch), Text(), _endpoints(look))


def _classes(stretch: Stretch) -> Table:
    table = Table("class", box=None, pad_edge=False)
    for column in ("offered/s", "good", "rejected", "queued", "TTFT p95", "TBT p99"):
        table.add_column(column, justify="right")
    for each in stretch.classes():
        per_second = f"{each.offered_per_second:.1f}" if stretch.seconds else "-"
        shares = (words.share(each.good), words.share(each.rejected))
        table.add_row(
            each.name, per_second, *shares, str(each.queued), words.seconds(each.ttft_p95), words.seconds(each.tbt_p99)
        )
    return table


def _endpoints(look: Look) -> Table:
    table = Table("endpoint", "state", "breaker", box=None, pad_edge=False)
    for column in ("in flight", "runs", "waits", "KV", "TTFT p95", "TBT p99"):
        table.add_column(column, justify="right")
    for endpoint in look.endpoints:
        figures = look.stretch.endpoint(endpoint["name"])
        style = None if endpoint["state"] == "ready" and endpoint["breaker"] == "closed" else "yellow"
        table.add_row(
            endpoint["name"],
            endpoint["state"],
            endpoint["breaker"],
            str(endpoint["inFlight"]),
            _known(endpoint["engineRunning"]),
            _known(endpoint["engineWaiting"]),
            words.share(endpoint["kvUsage"]),
            words.seconds(figures.ttft_p95),
            words.seconds(figures.tbt_p99),
            style=style,
        )
    return table


def _known(number: int | None) -> str:
    return "-" if number is None else str(number)
