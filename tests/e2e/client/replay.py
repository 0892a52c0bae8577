"""Replays a trace's lengths (CSV on stdin: num_prefill_tokens,num_decode_tokens) and prints a JSON summary.

python replay.py --base-url http://chat/v1 --model mistral-7b --concurrency 32 < trace.csv
"""

import argparse
import asyncio
import csv
import json
import sys
import time
from dataclasses import dataclass
from typing import Any

from openai import APIError, AsyncOpenAI

WORD = "one "
"""One token of the mock engine, which takes four bytes for a token."""


@dataclass(frozen=True)
class Row:
    """Lengths of one request."""

    prefill_tokens: int
    decode_tokens: int


def rows(text: str) -> list[Row]:
    """Parse a trace."""
    return [
        Row(int(row["num_prefill_tokens"]), int(row["num_decode_tokens"])) for row in csv.DictReader(text.splitlines())
    ]


async def replay(client: AsyncOpenAI, model: str, row: Row) -> dict[str, Any]:
    """Stream one request of the trace and give what came of it."""
    record: dict[str, Any] = {
        "asked": [row.prefill_tokens, row.decode_tokens],
        "got": None,
        "chunks": 0,
        "finish_reason": None,
        "error": None,
    }
    try:
        answer = await client.completions.create(
            model=model,
            prompt=WORD * row.prefill_tokens,
            max_tokens=row.decode_tokens,
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"ignore_eos": True},
        )
        async for chunk in answer:
            if chunk.usage:
                record["got"] = [chunk.usage.prompt_tokens, chunk.usage.completion_tokens]
            for choice in chunk.choices:
                record["chunks"] += 1
                record["finish_reason"] = choice.finish_reason
    except APIError as error:
        record["error"] = str(error)
    return record


async def main() -> None:
    """Read the command line and the trace, run every row and print the summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--concurrency", type=int, default=32)
    options = parser.parse_args()
    places, started = asyncio.Semaphore(options.concurrency), time.monotonic()

    async def one(client: AsyncOpenAI, row: Row) -> dict[str, Any]:
        async with places:
            return await replay(client, options.model, row)

    async with (
        AsyncOpenAI(base_url=options.base_url, api_key="none", max_retries=0) as client,
        asyncio.TaskGroup() as group,
    ):
        tasks = [group.create_task(one(client, row)) for row in rows(sys.stdin.read())]
    records = [task.result() for task in tasks]
    exact = [r for r in records if not r["error"] and r["got"] == r["asked"] and r["finish_reason"] == "length"]
    summary = {
        "requests": len(records),
        "exact": len(exact),
        "seconds": round(time.monotonic() - started, 2),
        "wrong": [record for record in records if record not in exact][:5],
    }
    sys.stdout.write(json.dumps(summary) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
