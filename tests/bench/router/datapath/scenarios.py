"""What is asked of every router: whole answers, streams, the highest rate, memory, long prompts, more processes.

Each scenario starts the router anew, and gives figures case by case. How long and how much is the form of the run: the
full one for results, the quick one for a first impression, the short one so that `make test` runs this code.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from datapath.figures import Figures, holds, next_rate
from datapath.native import LoadPlan
from datapath.targets import DIRECT, IN_TURN, PROCESSES
from datapath.window import Running, Window, write_request

PROMPT_BYTES = 1024
TOKENS_PER_SECOND = 30.0


@dataclass(frozen=True, slots=True)
class Form:
    """How long and how much; times in seconds."""

    name: str
    rounds: int
    patience: int
    """How often a window that others disturbed is measured again."""
    warmup_seconds: float
    requests_seconds: float
    connections: tuple[int, ...]
    streams: int
    tokens: int
    """Of each stream, but where memory is measured."""
    streams_seconds: float
    rates: tuple[int, ...]
    """Tokens per second of all streams together; the highest that is held is searched among them."""
    rates_seconds: float
    open_streams: tuple[int, ...]
    open_seconds: float
    prompts: tuple[tuple[int, int], ...]
    """Bytes of the prompt, and connections."""
    targets: tuple[str, ...] = ()
    """Where none are named; empty: all."""


FULL = Form(
    name="full",
    rounds=7,
    patience=2,
    warmup_seconds=1.0,
    requests_seconds=3.0,
    connections=(1, 32, 128),
    streams=500,
    tokens=60,
    streams_seconds=8.0,
    rates=tuple(range(10_000, 80_001, 2_500)),
    rates_seconds=3.0,
    open_streams=(1000, 5000),
    open_seconds=3.0,
    prompts=((32 * 1024, 32), (1024 * 1024, 8)),
)
QUICK = Form(
    name="quick",
    rounds=1,
    patience=0,
    warmup_seconds=0.4,
    requests_seconds=1.0,
    connections=(1, 32, 128),
    streams=500,
    tokens=60,
    streams_seconds=2.5,
    rates=tuple(range(10_000, 80_001, 10_000)),
    rates_seconds=1.5,
    open_streams=(1000,),
    open_seconds=2.0,
    prompts=((32 * 1024, 32), (1024 * 1024, 8)),
    targets=(DIRECT, "fairlead", "fairlead-2-workers", "vllm-router"),
)
SHORT = Form(
    name="short",
    rounds=1,
    patience=0,
    warmup_seconds=0.1,
    requests_seconds=0.3,
    connections=(2,),
    streams=10,
    tokens=6,
    streams_seconds=0.5,
    rates=(500,),
    rates_seconds=0.3,
    open_streams=(20,),
    open_seconds=0.3,
    prompts=((32 * 1024, 1),),
    targets=(DIRECT, "fairlead"),
)
FORMS = {form.name: form for form in (FULL, QUICK, SHORT)}

Case = tuple[str, Figures]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One question, asked of every target."""

    name: str
    what: str
    measure: Callable[[Running, Form], Iterator[Case]]
    seconds: Callable[[Form], float]
    """About how long it takes for one target, its start aside."""
    targets: tuple[str, ...] = ()
    """It is asked of these, where all of them were chosen; empty: of all chosen that no other scenario has for itself."""
    router_cores: int = 1
    direct: bool = True
    """Whether it says something about the measuring side alone."""


def _requests(running: Running, form: Form) -> Iterator[Case]:
    request = write_request(running.folder, prompt_bytes=PROMPT_BYTES, tokens=0)
    for connections in form.connections:
        plan = LoadPlan(request, connections, form.requests_seconds, form.warmup_seconds)
        yield f"c={connections}", request_figures(running.measure(plan))


def _prompts(running: Running, form: Form) -> Iterator[Case]:
    for prompt_bytes, connections in form.prompts:
        request = write_request(running.folder, prompt_bytes=prompt_bytes, tokens=0)
        plan = LoadPlan(request, connections, form.requests_seconds, form.warmup_seconds)
        yield f"{prompt_bytes // 1024} KB, c={connections}", request_figures(running.measure(plan))


def _streams(running: Running, form: Form, *, bursts: bool) -> Iterator[Case]:
    running.pods.pace(TOKENS_PER_SECOND, bursts=bursts)
    plan = stream_plan(running, form, TOKENS_PER_SECOND, form.streams_seconds)
    offered = form.streams * TOKENS_PER_SECOND
    yield f"{form.streams} x {TOKENS_PER_SECOND:.0f} tok/s", stream_figures(running.measure(plan), offered)


def _spread(running: Running, form: Form) -> Iterator[Case]:
    yield from _streams(running, form, bursts=False)


def _bursts(running: Running, form: Form) -> Iterator[Case]:
    yield from _streams(running, form, bursts=True)


def _processes(running: Running, form: Form) -> Iterator[Case]:
    """Streams for one process, and twice as many: of a process that has less to do each chunk costs more, so that two
    processes are to be compared with one that has half as much as both of them.
    """
    for streams in (form.streams // 2, form.streams):
        yield from _streams(running, replace(form, streams=streams), bursts=False)


def _rates(running: Running, form: Form) -> Iterator[Case]:
    held: dict[int, bool] = {}
    while (rate := next_rate(form.rates, held)) is not None:
        tokens_per_second = rate / form.streams
        running.pods.pace(tokens_per_second)
        plan = stream_plan(running, form, tokens_per_second, form.rates_seconds)
        figures = stream_figures(running.measure(plan), rate)
        held[rate] = holds(figures)
        yield str(rate), figures


def _memory(running: Running, form: Form) -> Iterator[Case]:
    """Memory with open streams, above that of the router after a few requests: what it takes at its first is not theirs."""
    assert running.group is not None
    first = write_request(running.folder, prompt_bytes=PROMPT_BYTES, tokens=0)
    running.measure(LoadPlan(first, 8, 0.2, 0.2))
    idle = running.group.memory()
    yield "idle", {"pss_mb": idle.pss_mb, "rss_mb": idle.rss_mb, "errors": 0.0}
    request = write_request(running.folder, prompt_bytes=PROMPT_BYTES, tokens=100_000)
    running.pods.pace(1.0)
    for streams in form.open_streams:
        ramp_seconds = streams / 1500
        plan = LoadPlan(request, streams, form.open_seconds, form.warmup_seconds, ramp_seconds, tokens=100_000)
        with running.under(plan) as window:
            memory = running.group.memory()
        yield (
            f"{streams} streams",
            {
                "pss_mb": memory.pss_mb,
                "rss_mb": memory.rss_mb,
                "kb_per_stream": (memory.pss_mb - idle.pss_mb) * 1e3 / streams,
                "open": float(window.load["open"]),
                "token_p99_ms": window.load["token_ms"]["p99"],
                **window.common(),
            },
        )


def stream_plan(running: Running, form: Form, tokens_per_second: float, seconds: float) -> LoadPlan:
    """Return a load of streams that begin evenly over the length of one, so that they also end evenly."""
    request = write_request(running.folder, prompt_bytes=PROMPT_BYTES, tokens=form.tokens)
    ramp_seconds = form.tokens / tokens_per_second
    return LoadPlan(request, form.streams, seconds, form.warmup_seconds, ramp_seconds, tokens=form.tokens)


def times(factor: float, value: float | None) -> float | None:
    """Multiply what is known."""
    return None if value is None else factor * value


def request_figures(window: Window) -> Figures:
    """Return the figures of whole answers."""
    responses, latency = window.load["responses"], window.load["latency_ms"]
    return {
        "requests_per_second": responses / window.seconds,
        "cpu_ms_per_request": times(1e3, window.router_cpu_per(responses)),
        "latency_p50_ms": latency["p50"],
        "latency_p99_ms": latency["p99"],
        **window.common(),
    }


def stream_figures(window: Window, offered_tokens_per_second: float) -> Figures:
    """Return the figures of streams; CPU per chunk has in it what the requests cost that carry the chunks."""
    chunks, ttft, token = window.load["chunks"], window.load["ttft_ms"], window.load["token_ms"]
    return {
        "chunks_per_second": chunks / window.seconds,
        "cpu_seconds_per_100k_chunks": times(1e5, window.router_cpu_per(chunks)),
        "delivered_share": window.load["tokens"] / window.seconds / offered_tokens_per_second,
        "ttft_p50_ms": ttft["p50"],
        "ttft_p99_ms": ttft["p99"],
        "token_p50_ms": token["p50"],
        "token_p99_ms": token["p99"],
        "token_p999_ms": token["p999"],
        **window.common(),
    }


def _streams_seconds(form: Form) -> float:
    return form.tokens / TOKENS_PER_SECOND + form.warmup_seconds + form.streams_seconds


def _rates_seconds(form: Form) -> float:
    probes = len(form.rates).bit_length()
    return probes * (form.rates_seconds + form.warmup_seconds + form.tokens * form.streams / 30_000)


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "requests",
            "answers that are not streamed",
            _requests,
            lambda form: len(form.connections) * (form.requests_seconds + form.warmup_seconds),
        ),
        Scenario("spread", "streams, the tokens of a pod spread evenly", _spread, _streams_seconds),
        Scenario("bursts", "streams, all tokens of a pod at the same moments", _bursts, _streams_seconds),
        Scenario("rates", "the highest rate of chunks that is held", _rates, _rates_seconds),
        Scenario(
            "memory",
            "memory with open streams",
            _memory,
            lambda form: sum(form.open_seconds + form.warmup_seconds + streams / 1500 for streams in form.open_streams),
            direct=False,
        ),
        Scenario(
            "prompts",
            "long prompts, answers not streamed",
            _prompts,
            lambda form: len(form.prompts) * (form.requests_seconds + form.warmup_seconds),
        ),
        Scenario(
            "workers",
            "one and two processes on two cores",
            _processes,
            lambda form: 2 * _streams_seconds(form),
            targets=(IN_TURN, PROCESSES),
            router_cores=2,
            direct=False,
        ),
    )
}


def targets_of(scenario: Scenario, chosen: Sequence[str]) -> list[str]:
    """Return which of the chosen targets a scenario is asked of."""
    if scenario.targets:
        return list(scenario.targets) if set(scenario.targets) <= set(chosen) else []
    return [name for name in chosen if name != PROCESSES and (scenario.direct or name != DIRECT)]
