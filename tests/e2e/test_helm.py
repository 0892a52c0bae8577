"""The chart on a real cluster: upgrade, uninstall, namespaced mode, and what its samples promise."""

import json

from cluster import ROOT, Cluster, succeeds
from ports import free_port
from release import NAME, Release
from scene import OPERATOR_NAMESPACE, POOL, QUICKSTART, Namespace, fresh_namespace


def test_every_sample_is_accepted_by_the_api_server(namespace: Namespace) -> None:
    samples = sorted((ROOT / "manifests" / "samples").glob("*.yaml"))
    assert samples
    for sample in samples:
        namespace.kubectl("apply", "--dry-run=server", "-f", str(sample))


def test_the_kustomize_base_is_accepted_by_the_api_server(namespace: Namespace) -> None:
    manifests = namespace.cluster.run("kubectl", "kustomize", "manifests/base")
    elsewhere = manifests.replace(OPERATOR_NAMESPACE, namespace.name)  # beside the chart's objects, not over them
    apply = ("kubectl", "apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-")
    namespace.cluster.run(*apply, stdin=elsewhere)


def test_the_commands_in_the_chart_s_notes_stream_an_answer(namespace: Namespace, operator: Release) -> None:
    notes = operator.helm("get", "notes", NAME)
    commands = notes[notes.index("kubectl apply") :].replace("--namespace default", f"--namespace {namespace.name}")
    commands = commands.replace("8080", str(free_port()))
    script = f"trap 'kill $(jobs -p)' EXIT\n{commands}"
    said = namespace.cluster.run("bash", "-eu", "-c", script)
    assert said.count('"content"') >= 30
    assert said.rstrip().endswith("data: [DONE]")


def test_an_upgrade_replaces_the_operator_and_leaves_pools_alone(chat: Namespace, operator: Release) -> None:
    engines, operator_pod = chat.engine_names(), operator.operator_pod()
    operator.install("--set-string=podAnnotations.restarted=yes")
    chat.eventually(lambda: operator.operator_pod() != operator_pod and chat.settled(), "the new operator is at work")
    assert chat.engine_names() == engines
    chat.kubectl("scale", f"fpool/{POOL}", "--replicas=3")
    chat.eventually(lambda: chat.settled() and len(chat.engines()) == 3, "the new operator scales")


def test_uninstalling_keeps_pools_and_their_api_and_a_new_installation_takes_them_up(
    chat: Namespace, operator: Release
) -> None:
    engines = chat.engine_names()
    operator.uninstall()
    assert chat.engine_names() == engines
    environment = operator.cluster.environment
    assert not succeeds("kubectl", "get", "clusterrole", "fairlead-operator", environment=environment)
    chat.kubectl("scale", f"fpool/{POOL}", "--replicas=1")
    operator.install()
    chat.eventually(lambda: chat.settled() and len(chat.engines()) == 1, "the new operator takes the pool up")


def test_an_operator_for_named_namespaces_leaves_the_others_alone(cluster: Cluster, operator: Release) -> None:
    with fresh_namespace(cluster) as watched, fresh_namespace(cluster) as other:
        operator.install(f"--set=watchNamespaces={{{watched.name}}}")
        other.apply(QUICKSTART)
        watched.quickstart()
        rules = cluster.run("kubectl", "get", "role", "fairlead-operator", "--namespace", watched.name, "--output=json")
        assert json.loads(rules)["rules"]
        environment = cluster.environment
        assert not succeeds("kubectl", "get", "clusterrole", "fairlead-operator", environment=environment)
        assert not other.find("pods")
        operator.install()
        other.eventually(other.settled, "an operator for all namespaces takes the other pool up")
