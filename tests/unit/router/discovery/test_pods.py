"""Pods as endpoints."""

import pytest

from fairlead_router.discovery.pods import ResourceExpiredError, Table, endpoint_of, endpoints_of


def pod(uid="u1", *, ready=True, ip="10.0.0.1", phase="Running", version="1", **metadata):
    return {
        "metadata": {"uid": uid, "name": f"chat-{uid}", "resourceVersion": version, **metadata},
        "status": {
            "phase": phase,
            "podIP": ip,
            "conditions": [
                {"type": "PodScheduled", "status": "True"},
                {"type": "Ready", "status": "True" if ready else "False"},
            ],
        },
    }


@pytest.mark.parametrize(
    ("given", "state"),
    [
        (pod(), "ready"),
        (pod(ready=False), "not_ready"),
        (pod(annotations={"other": "x"}), "ready"),
        (pod(annotations={"fairlead.dev/draining": "2026-01-01T00:00:00Z"}), "draining"),
        (pod(deletionTimestamp="2026-01-01T00:00:00Z"), "draining"),
        (pod(ready=False, deletionTimestamp="2026-01-01T00:00:00Z"), "draining"),
        ({"metadata": {"uid": "u", "name": "n"}, "status": {"podIP": "10.0.0.1"}}, "not_ready"),
        (pod(ip=""), None),
        (pod(ip=None), None),
        (pod(phase="Failed"), None),
        (pod(phase="Succeeded"), None),
        ({"metadata": {"uid": "u", "name": "n"}}, None),
    ],
)
def test_the_state_of_an_endpoint_follows_from_its_pod(given, state):
    view = endpoint_of(given)
    assert (view and view.state) == state


@pytest.mark.parametrize(("ip", "address"), [("10.0.0.1", "10.0.0.1:8000"), ("fd00::1", "[fd00::1]:8000")])
def test_an_endpoint_is_named_after_its_pod_and_reached_at_its_address(ip, address):
    view = endpoint_of(pod("u7", ip=ip))
    assert (view.uid, view.name, view.address) == ("u7", "chat-u7", address)


def listed(*pods, version="10"):
    return {"metadata": {"resourceVersion": version}, "items": list(pods)}


def test_a_list_and_the_events_after_it_make_the_table():
    table = Table()
    table.replace(listed(pod("a"), pod("b")))
    assert table.apply({"type": "ADDED", "object": pod("c", version="11")})
    assert table.apply({"type": "MODIFIED", "object": pod("a", ready=False, version="12")})
    assert table.apply({"type": "DELETED", "object": pod("b", version="13")})
    assert not table.apply({"type": "DELETED", "object": pod("b", version="14")})
    assert not table.apply({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "15"}}})
    states = {view.uid: view.state for view in endpoints_of(table.objects.values())}
    assert states == {"a": "not_ready", "c": "ready"}
    assert table.resource_version == "15"


def test_a_list_forgets_what_it_does_not_name():
    table = Table()
    table.replace(listed(pod("a")))
    table.replace(listed(version="20"))
    assert (table.objects, table.resource_version) == ({}, "20")


def test_an_expired_watch_keeps_the_view_and_asks_for_a_list():
    table = Table()
    table.replace(listed(pod("a")))
    with pytest.raises(ResourceExpiredError, match="too old"):
        table.apply({"type": "ERROR", "object": {"code": 410, "message": "too old"}})
    assert (set(table.objects), table.resource_version) == ({"a"}, "")


@pytest.mark.parametrize(
    "event",
    [
        {"type": "ERROR", "object": {"code": 500, "message": "etcd"}},
        {"type": "SURPRISE", "object": pod()},
        {"type": "ADDED"},
        {},
    ],
)
def test_an_event_that_makes_no_sense_is_refused(event):
    with pytest.raises(ValueError, match=r"watch event|API server"):
        Table().apply(event)
