"""Keys and certificates on their way from Secrets to the router."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from pools import IMAGES, a_pool, as_stored

from fairlead_operator.plan.observed import Observed
from fairlead_operator.plan.pool import plan_pool
from fairlead_operator.plan.router_children import router_children
from fairlead_operator.plan.status import pool_status
from fairlead_operator.types import ChildKey
from fairlead_router.config import AccessLog, Auth, Breaker, Limits, Retries, RouterConfig, Tls, Tracing

NOW = datetime(2026, 1, 2, tzinfo=UTC)
AUTH = {"secretRef": {"name": "chat-keys"}}
TLS = {"secretRef": {"name": "chat-tls"}}
MUTUAL = {**TLS, "clientAuth": True}
FOLDER = "/etc/fairlead/secrets"


def child(kind: str, **router: Any) -> dict[str, Any]:
    return next(each for each in router_children(a_pool(router=router), IMAGES) if each["kind"] == kind)


def config(**router: Any) -> RouterConfig:
    return RouterConfig.from_yaml(child("ConfigMap", **router)["data"]["config.yaml"])


def pod(**router: Any) -> dict[str, Any]:
    spec: dict[str, Any] = child("Deployment", **router)["spec"]["template"]["spec"]
    return spec


def container(**router: Any) -> dict[str, Any]:
    [only] = pod(**router)["containers"]
    return dict(only)


def files(**router: Any) -> dict[str, tuple[str, str]]:
    """The files in the router's folder of Secrets: the Secret and its key, by the file's name."""
    [volume] = pod(**router)["volumes"]
    sources = [source["secret"] for source in volume["projected"]["sources"]]
    return {item["path"]: (source["name"], item["key"]) for source in sources for item in source["items"]}


def test_a_pool_without_keys_and_tls_mounts_nothing() -> None:
    assert (config().auth, config().tls) == (None, None)
    assert (pod()["volumes"], container()["volumeMounts"]) == ([], [])


def test_the_router_is_told_where_its_keys_are_and_finds_them_there() -> None:
    assert config(auth=AUTH).auth == Auth(keys_file=f"{FOLDER}/keys.yaml")
    assert files(auth=AUTH) == {"keys.yaml": ("chat-keys", "keys.yaml")}
    [mount] = container(auth=AUTH)["volumeMounts"]
    assert (mount["mountPath"], mount["readOnly"]) == (FOLDER, True)


def test_the_keys_may_have_another_name_in_their_secret() -> None:
    named = {"secretRef": {"name": "shared", "key": "chat"}}
    assert config(auth=named).auth == config(auth=AUTH).auth
    assert files(auth=named) == {"keys.yaml": ("shared", "chat")}


@pytest.mark.parametrize(("tls", "client_ca"), [(TLS, None), (MUTUAL, f"{FOLDER}/ca.crt")])
def test_the_router_is_told_where_its_certificate_is_and_finds_it_there(
    tls: dict[str, Any], client_ca: str | None
) -> None:
    assert config(tls=tls).tls == Tls(certificate=f"{FOLDER}/tls.crt", key=f"{FOLDER}/tls.key", client_ca=client_ca)
    names = ["tls.crt", "tls.key", *(["ca.crt"] if client_ca else [])]
    assert files(tls=tls) == {name: ("chat-tls", name) for name in names}


def test_secrets_share_one_volume_that_only_the_router_s_group_reads() -> None:
    assert set(files(auth=AUTH, tls=TLS)) == {"keys.yaml", "tls.crt", "tls.key"}
    [volume] = pod(auth=AUTH, tls=TLS)["volumes"]
    assert volume["projected"]["defaultMode"] == 0o440


def test_with_tls_the_service_says_https_and_probes_stay_plain() -> None:
    for router, scheme in (({}, "http"), ({"tls": TLS}, "https")):
        [port] = child("Service", **router)["spec"]["ports"]
        assert (port["name"], port["appProtocol"], port["targetPort"]) == (scheme, scheme, scheme)
        [data, admin] = container(**router)["ports"]
        assert (data["name"], admin["name"]) == (scheme, "admin")
        for probe in ("readinessProbe", "livenessProbe"):
            assert container(**router)[probe]["httpGet"]["port"] == "admin"
            assert "scheme" not in container(**router)[probe]["httpGet"]


def settled(**router: Any) -> Observed:
    """The cluster in which a pool's plan has been carried out."""
    steps = plan_pool(a_pool(router=router), Observed(), {}, IMAGES, NOW).apply
    objects = [as_stored(step.manifest, uid=str(number)) for number, step in enumerate(steps)]
    return Observed(
        pods=[o for o in objects if o["kind"] == "Pod"],
        children={ChildKey(o["kind"], o["metadata"]["name"]): o for o in objects if o["kind"] != "Pod"},
    )


def without_empty_lists(observed: Observed) -> Observed:
    """As an API server stores it: a list without items is left out."""
    key = ChildKey("Deployment", "chat-router")
    stored = observed.children[key]
    template = stored["spec"]["template"]
    spec = {name: part for name, part in template["spec"].items() if part != []}
    spec["containers"] = [{n: part for n, part in each.items() if part != []} for each in spec["containers"]]
    changed = {**stored, "spec": {**stored["spec"], "template": {**template, "spec": spec}}}
    return replace(observed, children={**observed.children, key: changed})


def changed_children(observed: Observed, **router: Any) -> set[str]:
    return {step.key.kind for step in plan_pool(a_pool(router=router), observed, {}, IMAGES, NOW).apply}


@pytest.mark.parametrize("router", [{}, {"auth": AUTH}, {"auth": AUTH, "tls": MUTUAL}])
def test_a_settled_pool_needs_nothing(router: dict[str, Any]) -> None:
    assert changed_children(without_empty_lists(settled(**router)), **router) == set()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"auth": AUTH}),
        ({"auth": AUTH}, {}),
        ({"auth": AUTH, "tls": TLS}, {"tls": TLS}),
        ({"auth": AUTH, "tls": TLS}, {"auth": AUTH}),
        ({"tls": MUTUAL}, {"tls": TLS}),
        ({"auth": AUTH}, {"auth": {"secretRef": {"name": "other"}}}),
    ],
)
def test_a_secret_that_comes_or_goes_in_the_spec_comes_or_goes_in_the_pods(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    assert "Deployment" in changed_children(without_empty_lists(settled(**before)), **after)


def test_a_router_that_is_not_there_says_which_secrets_its_pods_wait_for() -> None:
    pool = a_pool(router={"auth": AUTH, "tls": MUTUAL})
    told = pool_status(pool, Observed(), [], [], "r1", previous={}, now=NOW)
    messages = {each["type"]: each["message"] for each in told["conditions"]}
    needed = "Secret chat-keys with keys.yaml and Secret chat-tls with tls.crt, tls.key, ca.crt"
    assert messages["Ready"].endswith(f"its pods start only when there is {needed}")


def test_a_router_that_does_not_progress_says_so_too() -> None:
    stuck = {"type": "Progressing", "status": "False", "message": "deadline exceeded"}
    deployment = as_stored(child("Deployment", auth=AUTH), conditions=[stuck])
    observed = Observed(children={ChildKey("Deployment", "chat-router"): deployment})
    told = pool_status(a_pool(router={"auth": AUTH}), observed, [], [], "r1", previous={}, now=NOW)
    [degraded] = [each for each in told["conditions"] if each["type"] == "Degraded"]
    assert (degraded["status"], degraded["reason"]) == ("True", "RouterFailing")
    assert degraded["message"].startswith("deadline exceeded; its pods start only when there is Secret chat-keys")


def test_without_secrets_nothing_is_said_of_any() -> None:
    told = pool_status(a_pool(), Observed(), [], [], "r1", previous={}, now=NOW)
    assert not any("Secret" in each["message"] for each in told["conditions"])


def test_several_workers_are_a_flag_and_ask_for_as_many_times_the_resources() -> None:
    assert "--workers" not in container()["args"]
    assert container(workers=4)["args"][-2:] == ["--workers", "4"]
    assert container(workers=4)["resources"]["requests"] == {"cpu": "200m", "memory": "512Mi"}


def test_the_router_gets_what_the_pool_says_of_it() -> None:
    told = config(
        passthrough=True,
        limits={"bodyBytes": 2048},
        retries={"attempts": 2},
        breaker={"failures": 9},
        accessLog={"sample": 0.5},
        tracing={"endpoint": "http://collector:4318"},
    )
    assert told.passthrough
    assert told.limits == Limits(body_bytes=2048)
    assert told.retries == Retries(attempts=2)
    assert told.breaker == Breaker(failures=9)
    assert told.access_log == AccessLog(sample=0.5)
    assert told.tracing == Tracing(endpoint="http://collector:4318")
