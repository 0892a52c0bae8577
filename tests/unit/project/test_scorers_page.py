"""The scorer that the documentation shows does what it says."""

import re
from pathlib import Path
from random import Random
from typing import Any

from fairlead_router.contract import EndpointState
from fairlead_router.decisions.decider import Decider
from fairlead_router.decisions.types import EndpointView, Placement, RequestView

PAGE = Path(__file__).parents[3] / "docs" / "scorers.md"
MOST_LINES = 20


def shown() -> str:
    [code] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return str(code)


def test_it_is_as_short_as_it_says():
    assert len(shown().splitlines()) <= MOST_LINES


def test_it_gives_a_request_to_the_endpoint_that_begins_with_it_soonest():
    names: dict[str, Any] = {}
    exec(shown(), names)
    decider = Decider(names["policy"](Random(0)))
    decider.set_endpoints(EndpointView(uid, f"{uid}:1", EndpointState.READY, uid) for uid in "abc")
    places = []
    for prompt_tokens in (1000, 10, 500, 10):
        request = RequestView("r", "m", "c", 0.0, streamed=True, prompt_tokens=prompt_tokens)
        decision = decider.submit(request, 0.0)
        assert isinstance(decision, Placement)
        places.append(decision.ticket.endpoint.uid)
    large, small, medium, last = places
    assert len({large, small, medium}) == 3, "an endpoint without a prompt before it is the best"
    assert last == small, "then the one with the fewest tokens before it"
