"""Which routers are asked what runs where, and what their answers say."""

from typing import Any

import pytest
from pools import IMAGES, a_pool

from fairlead_operator.plan.router_children import router_children
from fairlead_operator.plan.routers import RouterAddress, report_of, routers_to_ask
from fairlead_operator.types import Placed

[DEPLOYMENT] = [child for child in router_children(a_pool(), IMAGES) if child["kind"] == "Deployment"]
RUNNING = {"name": "router", "state": {"running": {}}}


def pod(address: str = "10.0.0.7", container: dict[str, Any] | None = None, **metadata: str) -> dict[str, Any]:
    """A router's pod as its Deployment makes it."""
    status = {"podIP": address, "containerStatuses": [container or RUNNING]}
    return {
        "metadata": {"name": "chat-router-x", **metadata},
        "spec": DEPLOYMENT["spec"]["template"]["spec"],
        "status": status if address else {},
    }


def test_a_router_is_asked_at_the_admin_port_of_its_pod() -> None:
    assert routers_to_ask([pod()]) == [RouterAddress("chat-router-x", "http://10.0.0.7:9090")]


def test_an_ipv6_address_stands_in_brackets() -> None:
    assert routers_to_ask([pod("fd00::7")])[0].url == "http://[fd00::7]:9090"


def test_a_router_that_is_being_deleted_is_asked_because_its_streams_run_on() -> None:
    assert routers_to_ask([pod(deletionTimestamp="2026-01-01T00:00:00Z")])


@pytest.mark.parametrize(
    "silent",
    [
        pod(""),
        pod(container={"name": "router", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}),
        pod(container={"name": "router", "state": {"terminated": {"exitCode": 0}}}),
    ],
    ids=["no address yet", "crashed", "ended"],
)
def test_a_router_that_does_not_run_has_nothing_in_flight_and_is_not_asked(silent: dict[str, Any]) -> None:
    assert routers_to_ask([silent]) == []


def test_an_answer_tells_state_and_requests_of_each_engine() -> None:
    answer = [
        {"uid": "1", "state": "ready", "inFlight": 2},
        {"uid": "2", "state": "draining", "inFlight": 1},
        {"uid": "3", "state": "gone", "inFlight": 1},
    ]
    report = report_of("r", answer)
    assert report.engines == {"1": Placed(False, 2), "2": Placed(True, 1), "3": Placed(True, 1)}
    assert report.trouble == ""


@pytest.mark.parametrize(
    "answer", [{"error": "x"}, [{"uid": "1"}], None, [{"uid": "1", "state": "ready", "inFlight": "?"}]]
)
def test_an_answer_that_makes_no_sense_is_as_good_as_none(answer: Any) -> None:
    report = report_of("r", answer)
    assert report.engines == {}
    assert report.trouble == "its answer makes no sense"
