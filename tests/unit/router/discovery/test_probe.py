"""Health of static endpoints, and how long to wait for those who are away."""

import asyncio
import contextlib
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_router.deadlines import Deadlines
from fairlead_router.discovery import probe as probe_module
from fairlead_router.discovery.backoff import LONGEST_SECONDS, Backoff
from fairlead_router.discovery.probe import Health, ProbeResult, probe
from fairlead_router.upstream.pool import Pool

H, F, R = ProbeResult.HEALTHY, ProbeResult.FAILING, ProbeResult.REFUSED


@pytest.mark.parametrize(
    ("results", "state"),
    [
        ([], "not_ready"),
        ([H], "ready"),
        ([F], "not_ready"),
        ([H, F, F], "ready"),
        ([H, F, F, F], "not_ready"),
        ([H, F, F, H, F, F], "ready"),
        ([H, R], "not_ready"),
        ([H, R, H], "ready"),
        ([H, R, F], "not_ready"),
    ],
)
def test_one_refusal_or_three_failures_make_an_endpoint_not_ready(results, state):
    health = Health()
    for result in results:
        health = health.after(result)
    assert health.state == state


@pytest.mark.parametrize(
    ("status", "result"),
    [("200 OK", H), ("404 Not Found", H), ("500 Internal Server Error", F), ("503 Service Unavailable", F)],
)
async def test_an_engine_below_500_is_alive(engine, kit, status, result):
    scripted = await engine(kit.answers(kit.whole(b"", status)))
    async with contextlib.aclosing(Pool(asyncio.get_running_loop(), Deadlines())) as pool:
        assert await probe(pool, scripted.address) is result
    assert scripted.requests[0].line == "GET /health HTTP/1.1"


async def test_an_engine_that_does_not_answer_fails(engine, kit, monkeypatch):
    monkeypatch.setattr(probe_module, "PROBE_SECONDS", 0.05)
    scripted = await engine(kit.answers_then_hangs())
    async with contextlib.aclosing(Pool(asyncio.get_running_loop(), Deadlines())) as pool:
        assert await probe(pool, scripted.address) is F


async def test_where_nothing_listens_the_probe_is_refused():
    async with contextlib.aclosing(Pool(asyncio.get_running_loop(), Deadlines())) as pool:
        assert await probe(pool, "127.0.0.1:1") is R


@given(failures=st.integers(1, 40), seed=st.integers())
def test_backoff_is_bounded_and_starts_anew_after_a_success(failures, seed):
    backoff = Backoff(Random(seed))
    waits = [backoff.failed() for _ in range(failures)]
    assert all(0 <= wait <= LONGEST_SECONDS for wait in waits)
    backoff.succeeded()
    assert backoff.failed() <= 0.5
