"""Draws in docs/schedulers/*.md how each scheduler batches the same four requests.

    .venv/bin/python docs/draw_batches.py

The pictures are the engine core's own batches, under a virtual clock. They are committed; a test fails when one is not up
to date. A picture stands between `<!-- batches: NAME -->` and `<!-- end -->`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from fairlead_engine.batch_time import Linear
from fairlead_engine.batching import Core
from fairlead_engine.limits import Limits
from fairlead_engine.schedulers import SCHEDULERS
from fairlead_engine.schedulers.rad import Rad
from fairlead_engine.schedulers.scheduler import Scheduler
from fairlead_engine.schedulers.slai import Slai
from fairlead_engine.types import Batch, Request

FOLDER = Path(__file__).parent / "schedulers"
PICTURE = re.compile(r"(<!-- batches: (?P<name>[a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

BUDGET_TOKENS = 8
BATCH_TIME = Linear(base_seconds=0.010, token_seconds=0.001)
ARRIVALS = (
    (0.000, Request("A", 4, 7, tbt_limit_seconds=0.06)),
    (0.000, Request("B", 3, 5, tbt_limit_seconds=0.2)),
    (0.030, Request("C", 20, 3, tbt_limit_seconds=0.2)),
    (0.030, Request("D", 4, 4, tbt_limit_seconds=0.2)),
)
SETTINGS: Mapping[str, Callable[[], Scheduler]] = {
    "rad": lambda: Rad(tile_tokens=4),
    "slai": lambda: Slai(order="spf", offset=3.0),
}
"""Where the defaults are for batches of hundreds of tokens, the same in small."""


def limits_of(name: str) -> Limits:
    """Give the limits of a picture: the small budget, where the scheduler can chunk a prompt to it."""
    whole_prompts = name in {"fastertransformer", "orca", "vllm"}
    return replace(SCHEDULERS[name].limits, max_num_batched_tokens=None if whole_prompts else BUDGET_TOKENS)


def record(name: str) -> list[tuple[float, float, Batch]]:
    """Run the four requests; give start, end and batch, in seconds."""
    make = SETTINGS.get(name, SCHEDULERS[name])
    core = Core(limits_of(name), make())
    arrivals = list(ARRIVALS)
    now, batches = 0.0, []
    while True:
        while arrivals and arrivals[0][0] <= now + 1e-9:
            core.add(arrivals.pop(0)[1], now)
        batch = core.next_batch(now)
        if batch is None:
            return batches
        end = now + BATCH_TIME.seconds(batch)
        batches.append((now, end, batch))
        core.complete(batch, end)
        now = end


def cell(request: Request, arrived: float, start: float, batch: Batch, left: dict[str, int]) -> str:
    """Draw what a request does in a batch, and count the tokens that it owes down."""
    name = request.request_id
    if name in batch.decodes:
        left[name] -= 1
        return "d"
    for chunk in batch.prefills:
        if chunk.request_id == name:
            left[name] -= chunk.completes_prompt
            return f"{chunk.tokens}p"
    return "." if arrived <= start + 1e-9 and left[name] else ""


def draw(name: str) -> str:
    """Draw a scheduler's batches: a row per request, a column per batch."""
    batches = record(name)
    left = {request.request_id: request.output_tokens for _, request in ARRIVALS}
    rows = [["batch", *(str(number) for number in range(1, len(batches) + 1))]]
    for arrived, request in ARRIVALS:
        cells = [cell(request, arrived, start, batch, left) for start, _, batch in batches]
        rows.append([f"{request.request_id} {request.prompt_tokens}+{request.output_tokens}", *cells])
    rows.append(["tokens", *(str(batch.tokens) for _, _, batch in batches)])
    rows.append(["ends at", *(f"{end * 1e3:.0f}" for _, end, _ in batches)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]
    return "```text\n" + "".join(line.rstrip() + "\n" for line in lines) + "```\n"


def redrawn(page: str) -> str:
    """Give a page with all its pictures drawn anew."""
    return PICTURE.sub(lambda match: match[1] + draw(match["name"]) + match[3], page)


if __name__ == "__main__":
    for path in FOLDER.glob("*.md"):
        path.write_text(redrawn(path.read_text()))
