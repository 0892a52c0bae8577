"""The page of results in the documentation, rendered from the file of results."""

from collections.abc import Iterable

from datapath.comparison import by_resources, differences, ratios, two_processes
from datapath.figures import DISTURBED, LATENCY_HELD_MS, SHARE_HELD, Measured, spread, with_highest_held
from datapath.results import Results
from datapath.scenarios import FORMS, PROMPT_BYTES
from datapath.tables import Table, of_measuring_side, of_scenarios
from datapath.targets import DIRECT, REFERENCE
from datapath.window import POD_COUNT

ONLY_ONE_ROUND = (
    "\n**One round: a first impression, not a result.** Figures of one round can be off by tens of percent.\n"
)


def page(results: Results) -> str:
    """Return the page in Markdown."""
    measured = Measured(with_highest_held(results.cells))
    parts = [
        _opening(results),
        "## Beside vllm-router\n",
        "Of each figure the median over the rounds, and between what it lay. `(+)`: more is better, `(-)`: less is.\n",
        *(_markdown(table, level=3) for table in (ratios(measured), differences(measured)) if table.rows),
        *_own(measured),
        "## All figures\n",
        "Of each the median over the rounds, and between what it lay. `>=`: the measuring side was full and the router\n"
        "was not, so that it may do more. In brackets: what is subtracted from the others.\n",
        *(_markdown(table, level=3) for table in of_scenarios(measured)),
        _method(results),
        _markdown(of_measuring_side(measured), level=3),
        _caveats(),
    ]
    return "\n".join(parts)


def _own(measured: Measured) -> list[str]:
    tables = [table for table in (by_resources(measured), two_processes(measured)) if table.rows]
    if not tables:
        return []
    intro = (
        "What else a user may turn on. A process that has less to do wakes up for fewer chunks at a time, so that each costs more,\n"
        "whoever runs beside it: two processes are compared with one that has as much to do as each of them, and with one that\n"
        "has as much as both.\n"
    )
    return ["## Beside itself\n", intro, *(_markdown(table, level=3) for table in tables)]


def _opening(results: Results) -> str:
    machine = results.machine
    kind = "a virtual machine" if machine["virtual"] == "yes" else "a machine"
    tree = ", with changes that are not committed" if results.uncommitted else ""
    rounds = "1 round" if results.rounds == 1 else f"{results.rounds} interleaved rounds"
    targets = "\n".join(f"| `{n}` | {t.version} | {t.what} | `{t.command}` |" for n, t in results.targets.items())
    return f"""# Performance of the router

What the router's data path costs beside other routers, and beside none. This page is written by the benchmark: do not edit it.

```sh
make bench                                                    # all of it; says first how long it takes
.venv/bin/python tests/bench/router run --quick               # a first impression, in minutes
.venv/bin/python tests/bench/router run --help                # single scenarios, single targets
```

Measured on {results.date} with `{results.command}`, form `{results.form}`, {rounds}, commit `{results.commit[:12]}`{tree}.
{ONLY_ONE_ROUND if results.rounds == 1 else ""}{_disturbed(results)}
The machine: {kind} with {machine["cores"]} cores, {machine["cpu"]}, {machine["memory_gib"]} GiB, Linux {machine["kernel"]}, Python {machine["python"]}.
The router ran on {results.placement["router"]}, the mock pods on {results.placement["pods"]}, the load source on {results.placement["load"]}.

| target | version | what | command |
|---|---|---|---|
| `{DIRECT}` | | no router: what the measuring side itself can do | |
{targets}
{_list("Left out here:", (f"`{name}`: {why}" for name, why in results.left_out.items()))}\
{_list("Gave no figures, or not all:", results.failures)}"""


def _disturbed(results: Results) -> str:
    shares = spread(cell.figures.get("others_share") for cell in results.cells)
    if shares is None or shares.median <= DISTURBED:
        return ""
    return (
        f"\n**The machine was not quiet**: others took {shares.median:.0%} of the cores in the median measurement. These figures say"
        " little\nabout any router.\n"
    )


def _method(results: Results) -> str:
    form = FORMS[results.form]
    return f"""## How it is measured

Pods and load source are C programs of one thread each (`tests/bench/router/native`), {POD_COUNT} pods in one process. Everything goes over
loopback TCP. Requests are chat completions as OpenAI's Python client sends them, with a prompt of {PROMPT_BYTES} bytes; streams have
{form.tokens} tokens, each a chunk of about 235 bytes as vLLM writes them, then usage and `[DONE]`. **Every chunk carries the time at
which it left the pod**, and the load source takes the time at which it came: a token's latency is the difference, and
nothing has to be guessed. All of it is checked: status, framing, that each token comes once and in order, the end of every stream.

| figure | what |
|---|---|
| req/s | answers per second with so many kept-alive connections, each with one request at a time |
| CPU ms/req, CPU s/100k chunks | processor time of all processes of the router, user and system. Of chunks: with the requests that carry them, {form.tokens + 4} chunks each |
| TTFT | from the request's first byte to the first token; pods send it at once |
| token latency | from the pod's write to the load source's read, of each token |
| added | above `{DIRECT}` in the same round |
| held | {form.streams} streams, p99 of token latency below {LATENCY_HELD_MS:.0f} ms, at least {SHARE_HELD:.0%} of the tokens delivered, no error; bisected in steps of {_step(form.rates):,} |
| memory | proportional set size of all processes, above that after a few requests for KB per stream |
| loop lag | `fairlead_router_loop_lag_seconds`: upper edge of the bucket that has the p99 |
| errors | wrong status, broken framing, lost or doubled tokens, streams without end; of the whole load, its warm-up too |

**Spread** tokens leave a pod evenly, stream after stream. In **bursts** all streams of a pod get their tokens at the same moment, as from an
engine that computes batches: a router wakes less often, and has more to do at once.

A round goes through all scenarios, and in each through all targets, each started anew; the order rotates from round to round. So what is
divided was measured within minutes.

### Does the measuring side limit?

`{DIRECT}` is its ceiling. Beside it, for every window: how busy its cores were, and how late tokens left the pods against their schedule. Where
its cores are full and the router's is not, a figure has `>=`. The table also shows what others took of all these cores: other processes, and
the host's other machines. A window in which that was more than {DISTURBED:.0%} is measured again when they have become quiet, {_times(results.patience)};
kept is the one with the least of it, whatever its figures.
"""


def _caveats() -> str:
    return f"""## Caveats

* One machine, loopback, one router process on one core unless said otherwise. Other machines give other figures; ratios travel better than figures.
* Differences of 10 to 20 % between rounds are noise on a virtual machine. Added p99 is the difference of two noisy tails, and can be negative.
* Peers run as they ship but for round robin and logs of errors only. They have features that are not measured here, and so has Fairlead.
* nginx relays bytes: no request is parsed, no token is timed, nothing is retried or admitted. It is there to show what relaying alone costs.
* The rate that is held moves in steps, and p99 at the step above is far beyond the limit.
* {REFERENCE} and sglang-router run a Python process around their Rust code: it is in their idle memory.

All figures, cell by cell and round by round, are in [`docs/results/router-data-path.json`](results/router-data-path.json). No round is left out.
"""


def _times(count: int) -> str:
    return f"{count} times at most" if count else "but not in this run"


def _step(rates: tuple[int, ...]) -> int:
    return rates[1] - rates[0] if len(rates) > 1 else rates[0]


def _list(title: str, items: Iterable[str]) -> str:
    lines = [f"* {item}" for item in items]
    return "\n".join(["", title, "", *lines, ""]) if lines else ""


def _markdown(table: Table, *, level: int) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in (table.columns, *table.rows)]
    lines.insert(1, "|" + "---|" * len(table.columns))
    return "\n".join([f"{'#' * level} {table.title}", "", *lines, ""])
