"""What clients see when something goes wrong, and what the engines see when a client goes away."""

import json
import urllib.error
import urllib.request
from typing import Any

import pytest
from cluster import NODE
from scene import MODEL, POOL, Namespace

LONG_TOKENS = 2000
RUNNING = "vllm:num_requests_running"


@pytest.fixture
def slow(namespace: Namespace) -> Namespace:
    """A pool whose engines take a minute and more for a long answer, and a client."""
    namespace.quickstart(engine={"args": ["--profile=mistral-7b-rtx6000-ada", "--time-scale=4"]})
    namespace.start_client()
    return namespace


def running(namespace: Namespace) -> dict[str, int]:
    return {name: int(namespace.engine_metric(name, RUNNING)) for name in sorted(namespace.engine_names())}


def post(port: int, body: bytes) -> tuple[int, Any]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions", data=body, headers={"content-type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def chat_request(model: str) -> bytes:
    return json.dumps({"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}).encode()


def test_errors_have_openai_s_shape_and_say_what_is_wrong(chat: Namespace) -> None:
    with chat.port_forward(f"service/{POOL}", 80) as port:
        unknown_model = post(port, chat_request("no-such-model"))
        bad_json = post(port, b'{"model": ')
        served = post(port, chat_request(MODEL))
    assert (unknown_model[0], unknown_model[1]["error"]["code"]) == (404, "model_not_found")
    assert "no-such-model" in unknown_model[1]["error"]["message"]
    assert (bad_json[0], bad_json[1]["error"]["code"]) == (400, "invalid_request")
    assert (served[0], served[1]["usage"]["completion_tokens"]) == (200, 2)


def test_a_pool_without_engines_answers_503(chat: Namespace) -> None:
    chat.kubectl("scale", f"fpool/{POOL}", "--replicas=0")
    chat.eventually(lambda: not chat.find("pods", "fairlead.dev/component=engine"), "no engine is left")
    with chat.port_forward(f"service/{POOL}", 80) as port:
        status, body = post(port, chat_request(MODEL))
    assert (status, body["error"]["code"]) == (503, "no_endpoint")


def test_a_client_that_hangs_up_aborts_its_request_at_the_engine(slow: Namespace) -> None:
    [record] = slow.client("stream.py", "--max-tokens", str(LONG_TOKENS), "--stop-after", "3")
    assert len(record["arrivals"]) == 3
    slow.eventually(lambda: sum(running(slow).values()) == 0, "the request is aborted", timeout=5)
    finished = {n: slow.engine_metric(n, "vllm:request_success_total") for n in slow.engine_names()}
    assert sum(finished.values()) <= 1, finished


def test_a_killed_engine_ends_only_its_own_streams_each_with_an_error_event(slow: Namespace) -> None:
    streams = slow.client_process("stream.py", "--requests", "6", "--max-tokens", "300")
    slow.eventually(lambda: sum(running(slow).values()) == 6, "six streams run", timeout=30)
    [victim, _] = running(slow)
    lost = running(slow)[victim]
    assert 0 < lost < 6
    kill(slow, victim)
    output, _ = streams.communicate(timeout=180)
    records = json.loads(output)
    cut = [record for record in records if record["error"]]
    whole = [record for record in records if not record["error"]]
    assert (len(cut), len(whole)) == (lost, 6 - lost)
    assert {record["error"]["code"] for record in cut} == {"engine_disconnected"}
    assert all(record["finish_reason"] is None and record["arrivals"] for record in cut)
    assert [record["usage"]["completion_tokens"] for record in whole] == [300] * len(whole)


def kill(namespace: Namespace, pod: str) -> None:
    """Kill an engine's process on its node, as the kernel does to one that is out of memory: no grace, no notice."""
    status = namespace.get("pod", pod)["status"]
    container = status["containerStatuses"][0]["containerID"].removeprefix("containerd://")
    task = ("docker", "exec", NODE, "ctr", "--namespace", "k8s.io", "task", "kill", "--signal", "SIGKILL", container)
    namespace.cluster.run(*task)
