"""Prompt and output lengths of a conversational workload, drawn from published quantiles.

The quantiles are those of the ShareGPT length trace (30 731 requests) that was published with Bari, Hegde, de Veciana,
arXiv 2508.01002 (github.com/agrimUT/SLAI, Apache-2.0), in which prompts and outputs are all but uncorrelated (Spearman
0.05). A length is drawn by inverting the piecewise linear distribution function through them; a pair beyond the
longest total of the trace is drawn again.
"""

import csv
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import TextIO

SHARES = (0.0, 0.01, 0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95, 0.99, 1.0)
PROMPT_TOKENS = (1, 12, 29, 74, 580, 1730, 3734.5, 5696, 6563, 7434, 8141)
OUTPUT_TOKENS = (2, 6, 44, 84, 228, 415, 628, 834, 920, 998, 1024)
LONGEST_PROMPT_TOKENS = 8141
LONGEST_TOTAL_TOKENS = 8149

COLUMNS = ("num_prefill_tokens", "num_decode_tokens")
"""Header of a length trace, as the traces of the field have it."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of one request, and where it shares text with others the names of its full KV blocks."""

    prompt_tokens: int
    output_tokens: int
    block_hashes: tuple[int, ...] = ()


def quantile(share: float, values: tuple[float, ...]) -> int:
    """Give the length, in whole tokens, below which `share` (0 to 1) of a distribution lies."""
    upper = min(bisect_right(SHARES, share), len(SHARES) - 1)
    low, high = SHARES[upper - 1], SHARES[upper]
    value = values[upper - 1] + (values[upper] - values[upper - 1]) * (share - low) / (high - low)
    return round(value)


def conversation(random: Random) -> Iterator[Lengths]:
    """Draw requests without end; the same seed gives the same requests on every machine."""
    while True:
        drawn = Lengths(quantile(random.random(), PROMPT_TOKENS), quantile(random.random(), OUTPUT_TOKENS))
        if drawn.prompt_tokens + drawn.output_tokens <= LONGEST_TOTAL_TOKENS:
            yield drawn


def take(requests: int, seed: int) -> list[Lengths]:
    """Draw a number of requests."""
    return list(islice(conversation(Random(seed)), requests))  # noqa: S311 - a workload, not secrets


def write_csv(lengths: Iterable[Lengths], file: TextIO) -> None:
    """Write a length trace: a header, then a row a request."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((item.prompt_tokens, item.output_tokens) for item in lengths)
