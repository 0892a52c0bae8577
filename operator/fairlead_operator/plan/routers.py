"""Which routers have to be asked what runs where, and what their answers say: pure readings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fairlead_operator.types import Manifest, Placed, RouterReport
from fairlead_router.contract import EndpointState

ADMIN_PORT_NAME = "admin"
"""Name of the admin port in a router's container."""

ENDPOINTS_PATH = "/admin/v1/endpoints"
"""Path that the admin port answers with every engine that the router knows, and what it has in flight there."""

KNOWS = frozenset({EndpointState.DRAINING, EndpointState.GONE})
"""States of an endpoint to which a router sends nothing new, and never will again."""


@dataclass(frozen=True, slots=True)
class RouterAddress:
    """A router that may have requests in flight, and where its admin port is."""

    name: str
    url: str


def routers_to_ask(pods: Sequence[Manifest]) -> list[RouterAddress]:
    """Give the routers among router pods.

    One that is being deleted is among them: its streams run on. One whose container does not run has none, and
    Services send to no pod before its status says that it runs.
    """
    return [RouterAddress(pod["metadata"]["name"], url) for pod in pods if (url := _admin_url(pod))]


def _admin_url(pod: Manifest) -> str:
    status = pod.get("status", {})
    running = [each for each in status.get("containerStatuses", ()) if "running" in each.get("state", {})]
    ports = [
        port["containerPort"]
        for container in pod["spec"]["containers"]
        for port in container.get("ports", ())
        if port.get("name") == ADMIN_PORT_NAME
    ]
    address = status.get("podIP")
    if not (address and running and ports):
        return ""
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}:{ports[0]}"


def report_of(router: str, answer: Any) -> RouterReport:
    """Read the answer to `GET /admin/v1/endpoints`; one that makes no sense is as good as none."""
    try:
        engines = {
            str(endpoint["uid"]): Placed(draining=endpoint["state"] in KNOWS, in_flight=int(endpoint["inFlight"]))
            for endpoint in answer
        }
    except (KeyError, TypeError, ValueError):
        return RouterReport(router, trouble="its answer makes no sense")
    return RouterReport(router, engines)
