"""What the operator remembers of the cluster."""

from typing import Any

from pools import IMAGES, a_pool, as_stored

from fairlead_operator.api.pool import API_VERSION, KIND
from fairlead_operator.plan.engine_pod import engine_pod
from fairlead_operator.store import Store
from fairlead_operator.types import Key

POOL = a_pool()
KEY = Key("prod", "chat")
MANIFEST: dict[str, Any] = {
    "apiVersion": API_VERSION,
    "kind": KIND,
    "metadata": {"name": "chat", "namespace": "prod", "uid": "uid-1", "resourceVersion": "1"},
}


def pod(name: str = "chat-engine-0", **values: Any) -> dict[str, Any]:
    return as_stored(engine_pod(POOL, name, IMAGES), **values)


def pods(store: Store) -> list[str]:
    return [p["metadata"]["name"] for p in store.observed(POOL).pods]


def test_a_child_wakes_its_pool() -> None:
    assert Store().put(pod()) == KEY


def test_an_object_without_an_owner_is_nobodys_business() -> None:
    stranger = pod()
    del stranger["metadata"]["ownerReferences"]
    assert Store().put(stranger) is None


def test_a_child_of_an_earlier_pool_of_that_name_is_not_observed() -> None:
    store = Store()
    old = pod()
    old["metadata"]["ownerReferences"] = [{**old["metadata"]["ownerReferences"][0], "uid": "earlier"}]
    store.put(old)
    assert pods(store) == []


def test_an_event_older_than_what_is_known_changes_nothing() -> None:
    store = Store()
    store.put(pod(version=5, phase="Running"))
    store.put(pod(version=4, phase="Pending"))
    assert store.observed(POOL).pods[0]["status"] == {"phase": "Running"}


def test_the_end_of_an_object_does_not_take_its_successor_of_the_same_name() -> None:
    store = Store()
    store.put(pod(uid="second"))
    store.remove(pod(uid="first"))
    assert pods(store) == ["chat-engine-0"]


def test_a_removed_object_is_forgotten() -> None:
    store = Store()
    store.put(pod())
    assert store.remove(pod()) == KEY
    assert pods(store) == []


def test_a_resync_forgets_what_is_gone_and_takes_in_what_is_new() -> None:
    store = Store()
    store.put(MANIFEST)
    store.put(pod("chat-engine-0"))
    store.replace("Pod", [pod("chat-engine-1")])
    assert pods(store) == ["chat-engine-1"]
    assert store.pool(KEY) == MANIFEST


def test_a_pod_that_is_no_engine_is_not_counted_as_one() -> None:
    store = Store()
    store.put(pod("chat-engine-debug"))
    assert pods(store) == []
