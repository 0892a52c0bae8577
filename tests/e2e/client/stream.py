"""Streams chat completions with the openai SDK and prints what arrived when, one JSON document.

python stream.py --base-url http://chat/v1 --model mistral-7b --max-tokens 50 --requests 4
"""

import argparse
import asyncio
import json
import sys
import time
from typing import Any

from openai import APIError, APIStatusError, AsyncOpenAI


async def stream(client: AsyncOpenAI, options: argparse.Namespace) -> dict[str, Any]:
    """Run one request and give its chunks' arrival times in seconds after the request was sent."""
    seen: dict[str, Any] = {"arrivals": [], "text": "", "finish_reason": None, "usage": None, "error": None}
    started = time.monotonic()
    try:
        answer = await client.chat.completions.create(
            model=options.model,
            messages=[{"role": "user", "content": options.prompt}],
            max_tokens=options.max_tokens,
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"ignore_eos": True},
        )
        async with answer:
            async for chunk in answer:
                note(seen, chunk, time.monotonic() - started)
                if options.stop_after and len(seen["arrivals"]) >= options.stop_after:
                    break
    except APIStatusError as error:
        seen["error"] = {"status": error.status_code, "body": error.body}
    except APIError as error:
        seen["error"] = {"message": error.message, "code": error.code, "kind": type(error).__name__}
    seen["seconds"] = time.monotonic() - started
    return seen


def note(seen: dict[str, Any], chunk: Any, arrived: float) -> None:
    """Take down what one chunk carries."""
    if chunk.usage:
        seen["usage"] = chunk.usage.model_dump(exclude_none=True)
    for choice in chunk.choices:
        if choice.delta.content:
            seen["arrivals"].append(round(arrived, 4))
            seen["text"] += choice.delta.content
        seen["finish_reason"] = choice.finish_reason or seen["finish_reason"]


async def main() -> None:
    """Read the command line, run the requests at once and print their records as a JSON list."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--prompt", default="Count.")
    parser.add_argument("--max-tokens", type=int, default=50)
    parser.add_argument("--requests", type=int, default=1, help="started at once")
    parser.add_argument("--stop-after", type=int, help="hang up after so many chunks with tokens")
    options = parser.parse_args()
    async with (
        AsyncOpenAI(base_url=options.base_url, api_key="none", max_retries=0) as client,
        asyncio.TaskGroup() as group,
    ):
        tasks = [group.create_task(stream(client, options)) for _ in range(options.requests)]
    sys.stdout.write(json.dumps([task.result() for task in tasks]) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
