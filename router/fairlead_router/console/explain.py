"""`fairlead explain`: what was decided of a request, and why."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

import click
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fairlead_router.console import words
from fairlead_router.console.admin import Admin, AdminError, asks_routers, chosen, get_json
from fairlead_router.contract import Reason

_PATH: Final = "/admin/v1/decisions"

Decision = Mapping[str, Any]
"""As `GET /admin/v1/decisions` shows one."""


@click.command("explain", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("request_id", required=False)
@click.option("--last", type=click.IntRange(1, 1000), default=20, show_default=True, help="Without an id: how many.")
@click.option("--all", "everything", is_flag=True, help="Without an id: those that went well, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@asks_routers
def explain(
    request_id: str | None,
    last: int,
    everything: bool,
    as_json: bool,
    urls: Sequence[str],
    pool: str | None,
    namespace: str | None,
) -> None:
    """Explain what the router decided of a request: where it ran and why there, why it waited, why it was refused.

    REQUEST_ID is what the answer's header x-request-id says. Without one, the last requests that were refused, failed or
    missed a limit of their class are listed.

    \b
      fairlead explain                                       what went wrong lately
      fairlead explain 5f0c2a@chat-router-7d9f --pool chat   one request, in a cluster
      fairlead explain 5f0c2a --admin http://10.0.0.7:9090   at a router's admin port
    """  # noqa: D301 - click wants the control character
    routers = chosen(urls, pool, namespace)
    if request_id is None:
        kept = "all" if everything else "notable"
        decisions = _newest(_asked(routers, f"{_PATH}?kept={kept}&last={last}"))[:last]
        _hand_out(decisions, as_json=as_json, shown=_table(decisions) if decisions else Text(_nothing(everything)))
        return
    sent_id, _, replica = request_id.partition("@")
    routers = [router for router in routers if router.name == replica] or routers
    decisions = _newest(_asked(routers, f"{_PATH}?request={quote(sent_id)}"))[::-1]
    if not decisions:
        raise AdminError(
            f"no decision on {sent_id!r} is kept by {', '.join(router.name for router in routers)}: a router keeps the last "
            "few thousand, and those of requests that went wrong for longer"
        )
    _hand_out(decisions, as_json=as_json, shown=Group(*(_explained(decision) for decision in decisions)))


def _asked(routers: Sequence[Admin], path: str) -> list[Decision]:
    return [decision for router in routers for decision in get_json(router, path)]


def _newest(decisions: Sequence[Decision]) -> list[Decision]:
    return sorted(decisions, key=lambda decision: -float(decision["time"]))


def _hand_out(decisions: Sequence[Decision], *, as_json: bool, shown: RenderableType) -> None:
    if as_json:
        click.echo(json.dumps(decisions, indent=1))
    else:
        Console(highlight=False).print(shown)


def _nothing(everything: bool) -> str:
    return "nothing was decided yet" if everything else "no request was refused, failed or missed a limit lately"


def _table(decisions: Sequence[Decision]) -> Table:
    table = Table("time", "request", "class", "what became of it", "endpoint", box=None, pad_edge=False)
    for column in ("waited", "TTFT", "worst TBT"):
        table.add_column(column, justify="right")
    for decision in decisions:
        outcome = decision["outcome"] or {}
        table.add_row(
            words.clock(decision["time"]),
            decision["requestId"],
            decision["class"],
            _fate(decision),
            decision["endpoint"] or "-",
            words.seconds(decision["waitedSeconds"] or None),
            words.seconds(outcome.get("ttftSeconds")),
            words.seconds(outcome.get("worstTbtSeconds")),
        )
    return table


def _explained(decision: Decision) -> RenderableType:
    """Tell one decision in sentences, with a table of the endpoints that were weighed."""
    head = Text.assemble(
        (decision["requestId"], "bold"), f"  class {decision['class']}, model {decision['model'] or '-'}"
    )
    lines = [*_expected(decision), *_decided(decision), *_went(decision)]
    parts: list[RenderableType] = [head, *(Padding(Text(line), (0, 0, 0, 2)) for line in lines)]
    if decision["candidates"]:
        parts.append(Padding(_candidates(decision), (1, 0, 1, 2)))
    return Group(*parts)


def _expected(decision: Decision) -> list[str]:
    limits = decision["limits"]
    named = [
        f"{name} {words.seconds(limits[key])}"
        for name, key in (("TTFT", "ttftSeconds"), ("TBT", "tbtSeconds"))
        if limits[key]
    ]
    said = f"limits: {', '.join(named) or 'none'}"
    if decision["promptTokens"] is not None:
        said += f"; expected: {decision['promptTokens']} prompt tokens, about {decision['outputTokens']} of the answer"
    return [said]


def _decided(decision: Decision) -> list[str]:
    when, waited = words.clock(decision["time"]), decision["waitedSeconds"]
    after = f" after {words.seconds(waited)} in the queue" if waited else ""
    if decision["verdict"] == "reject":
        come_back = decision["retryAfterSeconds"]
        again = f"; told to come back after {come_back} s" if come_back else ""
        return [f"{when}  refused{after}, {decision['reason']}: {decision['message']}{again}"]
    return [f"{when}  placed on {decision['endpoint']}{after} by policy {decision['policy']}"]


def _went(decision: Decision) -> list[str]:
    outcome, limits = decision["outcome"], decision["limits"]
    if decision["verdict"] == "reject":
        return []
    if outcome is None:
        return ["it still runs"]
    if outcome["reason"] == Reason.TAKEN_BACK:
        after = words.seconds(outcome["durationSeconds"])
        return [
            f"taken back {after} after it had come, for {decision['recalledFor']}, which was more urgent; it waits again"
        ]
    lines = []
    if outcome["ttftSeconds"] is not None:
        predicted = decision["predictedTtftSeconds"]
        expected = f", predicted {words.seconds(predicted)}" if predicted else ""
        lines.append(
            f"TTFT {words.seconds(outcome['ttftSeconds'])}{_against(outcome['ttftSeconds'], limits['ttftSeconds'])}{expected}"
        )
    if outcome["worstTbtSeconds"] is not None:
        worst = outcome["worstTbtSeconds"]
        lines.append(f"worst TBT {words.seconds(worst)}{_against(worst, limits['tbtSeconds'])}")
    how = "good" if outcome["good"] else "not good"
    lines.append(f"ended after {words.seconds(outcome['durationSeconds'])}: {outcome['reason']}, {how}")
    return lines


def _candidates(decision: Decision) -> Table:
    table = Table("endpoint", box=None, pad_edge=False)
    for column in ("score", "in flight", "prompt tokens ahead", "decodes", "KV tokens", "of the prompt cached"):
        table.add_column(column, justify="right")
    for each in sorted(decision["candidates"], key=lambda each: -(each["score"] or 0.0)):
        score = "-" if each["score"] is None else f"{each['score']:.4g}"
        numbers = ("inFlight", "prefillTokens", "decodes", "kvTokens", "cachedTokens")
        style = "bold" if each["endpoint"] == decision["endpoint"] else None
        table.add_row(each["endpoint"], score, *(str(each[number]) for number in numbers), style=style)
    if decision["candidatesNotShown"]:
        table.caption = f"{decision['candidatesNotShown']} more with lower scores"
    return table


def _fate(decision: Decision) -> str:
    outcome = decision["outcome"]
    if decision["verdict"] == "reject":
        return str(decision["reason"])
    if outcome is None:
        return "runs"
    if outcome["reason"] != "completed" or outcome["good"]:
        return str(outcome["reason"])
    return "completed, late"


def _against(value: float, limit: float | None) -> str:
    if limit is None:
        return ""
    return f" (limit {words.seconds(limit)}: {'met' if value <= limit else 'missed'})"
