"""Which loads an engine can carry at all: stability region and capacity bounds, from its batch-time model alone.

Sources: the region under a limit on requests per batch is that of Dai, Deng, Li and Peng, arXiv 2504.07347, section 6
(Theorem 10); without such a limit it contains the bound of their Theorem 2, batches of b_max tokens back to back. The
bound from full tiles and the optimality of RAD are those of Bari, Hegde and de Veciana, arXiv 2508.01002, Theorems 1 and 2.

A batch of x prompt tokens and y decodes that takes t carries (x, y) / t tokens per time; what an engine can carry in the
long run is any mix of such batches, their convex hull with the origin. Where a model counts attention, a token costs what
it does on average over the lengths.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from math import fsum

from fairlead_engine.batch_time import BatchTime, Staircase
from fairlead_engine.types import Batch, PrefillChunk
from fairlead_simulator.lengths import Lengths
from fairlead_simulator.results import Json

DEFAULT_TILE_TOKENS = 128
MANY_TILES = 16
"""Tiles of the batches that one tile is compared with: 2048 tokens of 128."""


@dataclass(frozen=True, slots=True)
class Load:
    """Means over the requests that decide their cost."""

    prompt_tokens: float
    output_tokens: float
    processed_tokens: float
    """Prompt tokens before one, averaged over all prompt tokens: what prefill attention looks back on."""
    context_tokens: float
    """Context of a decode, averaged over all decodes."""
    padded_prompt_tokens: float
    """Prompt tokens once each prompt is filled up to whole tiles."""

    @property
    def tokens(self) -> float:
        """Mean tokens of a request."""
        return self.prompt_tokens + self.output_tokens


def load(lengths: Sequence[Lengths], tile_tokens: int) -> Load:
    """Average the lengths of requests (at least one)."""
    prompts = fsum(item.prompt_tokens for item in lengths)
    outputs = fsum(item.output_tokens for item in lengths)
    before = fsum(item.prompt_tokens * item.prompt_tokens / 2 for item in lengths)
    contexts = fsum(
        item.output_tokens * item.prompt_tokens + item.output_tokens * (item.output_tokens + 1) / 2 for item in lengths
    )
    padded = fsum(-(-item.prompt_tokens // tile_tokens) * tile_tokens for item in lengths)
    count = len(lengths)
    return Load(prompts / count, outputs / count, before / prompts, contexts / outputs, padded / count)


@dataclass(frozen=True, slots=True)
class Vertex:
    """A corner of the region, and the batch that reaches it when it is run back to back."""

    prefill_tokens_per_ms: float
    decode_tokens_per_ms: float
    prefill_tokens: int
    decodes: int


@dataclass(frozen=True, slots=True)
class Region:
    """Token rates that batches of at most `b_max` tokens and `k_max` requests can carry; corners from decodes to prompts."""

    b_max: int
    k_max: int | None
    vertices: tuple[Vertex, ...]
    requests_per_second: float
    """Highest rate of requests of the given mean lengths that is inside."""

    def as_json(self) -> Json:
        """Give the region as nested JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class RadBound:
    """What batches of exactly one full tile carry: RAD's capacity."""

    tile_tokens: int
    tokens_per_ms: float
    requests_per_second: float
    """One over the time of a request whose every token is processed in a full tile."""
    padded_requests_per_second: float
    """The same when every prompt fills its last tile, as RAD runs it."""
    bounds_every_scheduler: bool
    """Whether larger batches carry no more: so it is where a batch costs nothing but its tiles and tokens (Theorem 1)."""

    def as_json(self) -> Json:
        """Give the bound as nested JSON."""
        return asdict(self)


def batch_seconds(batch_time: BatchTime, load: Load, prefill_tokens: int, decodes: int) -> float:
    """Time of a batch whose tokens cost what they do on average."""
    # The chunk's own half is part of the mean already; a model adds it again.
    before = round(load.processed_tokens - prefill_tokens / 2)
    chunks = (PrefillChunk("", prefill_tokens, before),) if prefill_tokens else ()
    return batch_time.seconds(Batch(("",) * decodes, round(decodes * load.context_tokens), chunks))


def region(batch_time: BatchTime, load: Load, b_max: int, k_max: int | None) -> Region:
    """Give the region of batches of at most `b_max` tokens and, where it is set, `k_max` requests.

    At a fixed number of tokens a batch's time is linear in its decodes, so only those with no decode, or with as many as
    fit beside one prompt, can be corners.
    """
    most = b_max if k_max is None else k_max
    shapes = {(tokens, 0) for tokens in range(1, b_max + 1)}
    shapes |= {(0, decodes) for decodes in range(1, min(most, b_max) + 1)}
    shapes |= {(tokens - beside, beside) for tokens in range(1, b_max + 1) if (beside := min(most - 1, tokens - 1)) > 0}
    points: list[Vertex] = []
    for prefill_tokens, decodes in shapes:
        ms = batch_seconds(batch_time, load, prefill_tokens, decodes) * 1e3
        points.append(Vertex(prefill_tokens / ms, decodes / ms, prefill_tokens, decodes))
    vertices = _hull(points)
    return Region(b_max, k_max, vertices, _highest_rate(vertices, load) * 1e3)


def rad_bound(batch_time: BatchTime, load: Load, tile_tokens: int) -> RadBound:
    """Give the capacity of full tiles at one engine."""
    tiles = batch_seconds(batch_time, load, tile_tokens, 0), batch_seconds(batch_time, load, 0, tile_tokens)
    prefill_seconds, decode_seconds = (seconds / tile_tokens for seconds in tiles)
    outputs_seconds = load.output_tokens * decode_seconds
    per_request = load.prompt_tokens * prefill_seconds + outputs_seconds
    padded = load.padded_prompt_tokens * prefill_seconds + outputs_seconds
    larger = region(batch_time, load, MANY_TILES * tile_tokens, None).requests_per_second
    return RadBound(
        tile_tokens,
        1e-3 * load.tokens / per_request,
        1 / per_request,
        1 / padded,
        bounds_every_scheduler=larger <= (1 + 1e-9) / per_request,
    )


def tile_of(batch_time: BatchTime) -> int:
    """Give the tile of a model that has tiles, 128 otherwise."""
    return batch_time.tile_tokens if isinstance(batch_time, Staircase) else DEFAULT_TILE_TOKENS


def _turn(start: Vertex, middle: Vertex, end: Vertex) -> float:
    return (middle.prefill_tokens_per_ms - start.prefill_tokens_per_ms) * (
        end.decode_tokens_per_ms - start.decode_tokens_per_ms
    ) - (middle.decode_tokens_per_ms - start.decode_tokens_per_ms) * (
        end.prefill_tokens_per_ms - start.prefill_tokens_per_ms
    )


def _hull(points: Sequence[Vertex]) -> tuple[Vertex, ...]:
    """Give the outer corners, from decodes alone to prompts alone: the upper hull, by Andrew's monotone chain."""
    ordered = sorted(points, key=lambda point: (point.prefill_tokens_per_ms, point.decode_tokens_per_ms))
    only_decodes = max(
        (point for point in points if not point.prefill_tokens), key=lambda point: point.decode_tokens_per_ms
    )
    hull: list[Vertex] = [only_decodes]
    for point in ordered:
        if not point.prefill_tokens:
            continue
        while len(hull) > 1 and _turn(hull[-2], hull[-1], point) >= -1e-12:
            hull.pop()
        hull.append(point)
    return tuple(hull)


def _highest_rate(vertices: Sequence[Vertex], load: Load) -> float:
    """Scale the load until it meets the region's border; requests per millisecond.

    Every edge of the hull is a line a x + b y = c; the load stays inside all of them (and right of the axes).
    """
    rates: list[float] = []
    for start, end in pairwise(vertices):
        a = start.decode_tokens_per_ms - end.decode_tokens_per_ms
        b = end.prefill_tokens_per_ms - start.prefill_tokens_per_ms
        c = a * start.prefill_tokens_per_ms + b * start.decode_tokens_per_ms
        crossing = a * load.prompt_tokens + b * load.output_tokens
        if crossing > 0:
            rates.append(c / crossing)
    return min(rates)
