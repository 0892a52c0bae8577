"""What the router checks, forwards, retries and answers by itself."""

import asyncio
import gc
import io
import json
import socket

import pytest

from fairlead_router.config import Limits, RouterConfig, ServiceClass, Timeouts
from fairlead_router.contract import Reason
from fairlead_router.edge.response import Response
from fairlead_router.relay.attempts import Attempts
from fairlead_router.relay.exchange import Exchange

WHOLE = b'{"id": "1", "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}}'


@pytest.fixture
def nowhere():
    """An address where nothing listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{unused.getsockname()[1]}"


def error_of(body: bytes) -> dict[str, object]:
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "code", "param"}
    return error


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        (b"", 400, "invalid_request", None),
        (b"{", 400, "invalid_request", None),
        (b"\xff\xfe", 400, "invalid_request", None),
        (b"[]", 400, "invalid_request", None),
        (b'"model"', 400, "invalid_request", None),
        (b"{}", 400, "invalid_request", "model"),
        (b'{"model": 7}', 400, "invalid_request", "model"),
        (b'{"model": ""}', 400, "invalid_request", "model"),
        (b'{"model": null}', 400, "invalid_request", "model"),
        (b'{"model": "other"}', 404, "model_not_found", "model"),
        (b"[" * 100_000, 400, "invalid_request", None),
    ],
)
async def test_a_bad_request_is_refused_in_openais_shape_and_reaches_no_engine(
    engine, router, kit, body, status, code, param
):
    scripted = await engine(kit.answers(kit.whole(WHOLE)))
    running = await router([scripted], RouterConfig(models=("chat",)))
    got, answer, headers = await running.asked(body=body or b" ")
    error = error_of(answer)
    assert (got, error["code"], error["param"]) == (status, code, param)
    assert error["type"] == "invalid_request_error"
    assert headers["x-fairlead-reason"] == code
    assert scripted.requests == []
    assert running.ended(code, verdict="reject") == 1
    assert running.sample("fairlead_router_offered_requests_total", class_="default") is None


async def test_an_unknown_class_is_refused_with_the_ones_that_exist(engine, router, kit):
    config = RouterConfig(classes=(ServiceClass(name="interactive"), ServiceClass(name="batch")))
    running = await router([await engine(kit.answers(kit.whole(WHOLE)))], config)
    status, body, _ = await running.asked(headers={"x-slo-class": "gold"})
    error = error_of(body)
    assert (status, error["code"]) == (400, "unknown_class")
    assert "interactive, batch" in error["message"]


async def test_a_request_without_class_belongs_to_the_default_class(engine, router, kit):
    config = RouterConfig(classes=(ServiceClass(name="a"), ServiceClass(name="b", default=True)))
    running = await router([await engine(kit.answers(kit.whole(WHOLE)))], config)
    await running.asked()
    assert running.ended("completed", class_="b") == 1


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "chunked"])
async def test_a_body_that_is_too_large_is_refused(router, announced):
    running = await router(config=RouterConfig(limits=Limits(body_bytes=1024)))

    async def pieces():
        for _ in range(20):
            yield b"x" * 100

    data = b"x" * 2000 if announced else pieces()
    async with running.session.post(running.url + "/v1/completions", data=data) as answer:
        assert answer.status == 413
        assert error_of(await answer.read())["code"] == "request_too_large"


async def test_a_large_body_arrives_whole(engine, router, kit):
    scripted = await engine(kit.answers(kit.whole(WHOLE)))
    running = await router([scripted])
    body = json.dumps({"model": "m", "prompt": "x" * 3_000_000}).encode()
    async with running.session.post(running.url + "/v1/completions", data=io.BytesIO(body)) as answer:
        assert answer.status == 200
    assert scripted.requests[0].body == body


async def test_no_endpoint_is_a_503_that_says_when_to_come_back(router):
    running = await router()
    status, body, headers = await running.asked()
    assert (status, error_of(body)["code"]) == (503, "no_endpoint")
    assert int(headers["retry-after"]) > 0
    assert running.ended("no_endpoint", verdict="reject") == 1
    assert running.sample("fairlead_router_offered_requests_total", class_="default") == 1


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/v1/nothing", 404, "not_found"), ("GET", "/v1/completions", 405, "method_not_allowed")],
)
async def test_unknown_paths_and_methods_are_answered_in_openais_shape(router, method, path, status, code):
    running = await router()
    async with running.session.request(method, running.url + path) as answer:
        assert answer.status == status
        assert error_of(await answer.read())["code"] == code


async def test_the_body_is_forwarded_as_it_came_and_hop_by_hop_headers_are_not(engine, router, kit):
    scripted = await engine(
        kit.answers(
            kit.whole(
                WHOLE, "200 OK", "x-of-engine: 1", "keep-alive: timeout=9", "connection: x-private", "x-private: 1"
            )
        )
    )
    running = await router([scripted])
    body = b'{ "model":"m",  "unknown_field": [1, 2.50] }'
    status, got, headers = await running.asked(
        body=body, headers={"x-own": "2", "te": "trailers", "authorization": "Bearer k", "x-request-id": "r-1"}
    )
    request = scripted.requests[0]
    assert (status, got) == (200, WHOLE)
    assert request.body == body
    assert request.line == "POST /v1/chat/completions HTTP/1.1"
    assert request.headers["host"] == scripted.address
    assert request.headers["authorization"] == "Bearer k"
    assert request.headers["x-own"] == "2"
    assert request.headers["x-request-id"] == "r-1"
    assert not {"te", "accept-encoding", "transfer-encoding"} & set(request.headers)
    assert headers["x-of-engine"] == "1"
    assert headers["x-request-id"] == f"r-1@{running.router.replica}"
    assert headers["x-fairlead-endpoint"] == scripted.address
    assert headers["x-fairlead-reason"] == "placed"
    assert not {"keep-alive", "x-private"} & set(headers)


async def test_a_header_in_utf_8_reaches_the_engine_byte_for_byte(engine, router, kit):
    scripted = await engine(kit.answers(kit.whole(WHOLE)))
    running = await router([scripted])
    await running.asked(headers={"x-user": "Zoë"})
    assert scripted.requests[0].headers["x-user"].encode("latin-1") == "Zoë".encode()


async def test_a_class_that_goes_while_the_body_arrives_still_serves_its_request(engine, router, kit):
    running = await router([await engine(kit.answers(kit.whole(WHOLE)))])

    async def pieces():
        yield b'{"model":'
        running.router.apply(RouterConfig(classes=(ServiceClass(name="new"),)))
        yield b' "m"}'

    async with running.session.post(running.url + "/v1/completions", data=pieces()) as answer:
        assert answer.status == 200


async def test_a_client_that_hangs_up_inside_its_request_is_counted_and_reaches_no_engine(engine, router, kit):
    scripted = await engine(kit.answers(kit.whole(WHOLE)))
    running = await router([scripted])
    _, writer = await asyncio.open_connection("127.0.0.1", int(running.url.rsplit(":", 1)[1]))
    writer.write(b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf")
    await writer.drain()
    writer.close()
    await kit.until(lambda: running.ended("client_disconnected", verdict="reject") == 1, "counted")
    assert scripted.requests == []


async def test_the_query_reaches_the_engine(engine, router, kit):
    scripted = await engine(kit.answers(kit.whole(WHOLE)))
    running = await router([scripted])
    await running.asked(path="/v1/completions?a=b%20c")
    assert scripted.requests[0].line == "POST /v1/completions?a=b%20c HTTP/1.1"


@pytest.mark.parametrize("sent", [None, "", "two words", "x" * 200])
async def test_a_request_id_is_made_where_there_is_none_to_keep(engine, router, kit, sent):
    scripted = await engine(kit.answers(kit.whole(WHOLE)))
    running = await router([scripted])
    _, _, headers = await running.asked(headers={} if sent is None else {"x-request-id": sent})
    made = scripted.requests[0].headers["x-request-id"]
    assert len(made) == 32
    assert headers["x-request-id"].startswith(made + "@")


@pytest.mark.parametrize("status", ["400 Bad Request", "422 Unprocessable", "429 Too Many Requests", "500 Oops"])
async def test_an_engines_error_is_relayed_with_its_headers_and_not_retried(engine, router, kit, status):
    error = b'{"error": {"message": "of the engine"}}'
    first = await engine(kit.answers(kit.whole(error, status, "retry-after: 17")))
    running = await router([first])
    got, body, headers = await running.asked()
    assert (got, body) == (int(status[:3]), error)
    assert headers["retry-after"] == "17"
    assert headers["x-fairlead-reason"] == "engine_error"
    assert len(first.requests) == 1
    assert running.ended("engine_error") == 1
    assert running.sample("fairlead_router_good_requests_total", class_="default") == 0


async def test_usage_of_a_whole_answer_is_counted(engine, router, kit):
    running = await router([await engine(kit.answers(kit.whole(WHOLE)))])
    await running.asked()
    assert running.sample("fairlead_router_tokens_total", direction="prompt") == 5
    assert running.sample("fairlead_router_tokens_total", direction="output") == 2
    assert running.sample("fairlead_router_good_requests_total", class_="default") == 1


async def test_an_engine_that_refuses_connections_is_passed_over(engine, router, kit, nowhere):
    alive = await engine(kit.answers(kit.whole(WHOLE)))
    running = await router([nowhere, alive])
    for _ in range(10):
        status, _, headers = await running.asked()
        assert status == 200
        assert headers["x-fairlead-endpoint"] == alive.address
    retries = running.sample("fairlead_router_retries_total", reason="connect_failed")
    assert retries == 1, "after its first refusal it is avoided for a while"
    assert running.in_flight == 0
    assert running.ended("completed") == 10


async def test_an_engine_that_closes_before_its_first_byte_is_passed_over(engine, router, kit):
    closing = await engine(kit.answers_then_closes())
    alive = await engine(kit.answers(kit.whole(WHOLE)))
    running = await router([closing, alive])
    statuses = [(await running.asked())[0] for _ in range(2)]
    assert statuses == [200, 200]
    assert running.sample("fairlead_router_retries_total", reason="connection_closed") == 1


async def test_when_no_engine_can_be_reached_the_answer_is_a_502(router, nowhere):
    running = await router([nowhere])
    status, body, headers = await running.asked()
    assert (status, error_of(body)["code"]) == (502, "engine_unreachable")
    assert headers["x-fairlead-endpoint"] == nowhere
    assert running.ended("engine_unreachable") == 1
    assert running.in_flight == 0
    assert running.sample("fairlead_router_retries_total", reason="connect_failed") is None


async def test_a_request_is_tried_on_at_most_three_engines(engine, router, kit):
    engines = [await engine(kit.answers_then_closes()) for _ in range(5)]
    running = await router(engines)
    status, _, _ = await running.asked()
    assert status == 502
    assert sum(len(each.requests) for each in engines) == 3
    assert max(len(each.requests) for each in engines) == 1


async def test_a_stale_connection_is_not_the_engines_fault(engine, router, kit):
    """The engine closes a kept-alive connection at the moment when the next request is on its way."""

    async def script(connection):
        if scripted.connections == 1 and len(scripted.requests) == 2:
            connection.writer.close()
        else:
            await connection.send(kit.whole(WHOLE))

    scripted = await engine(script)
    running = await router([scripted])
    statuses = [(await running.asked())[0] for _ in range(2)]
    assert statuses == [200, 200]
    assert running.sample("fairlead_router_retries_total", reason="stale_connection") == 1


async def test_connections_to_engines_are_reused(engine, router, kit):
    scripted = await engine(kit.answers(kit.whole(WHOLE)))
    running = await router([scripted])
    for _ in range(5):
        await running.asked()
    assert scripted.connections == 1


async def test_an_answer_that_is_not_http_is_a_502_and_not_retried(engine, router, kit):
    nonsense = await engine(kit.answers_then_closes(b"SSH-2.0-OpenSSH\r\n\r\n"))
    other = await engine(kit.answers_then_closes(b"SSH-2.0-OpenSSH\r\n\r\n"))
    running = await router([nonsense, other])
    status, body, _ = await running.asked()
    assert (status, error_of(body)["code"]) == (502, "engine_disconnected")
    assert len(nonsense.requests) + len(other.requests) == 1


@pytest.mark.parametrize("sent", [b"", b"head only"])
async def test_an_engine_that_sends_no_byte_in_time_is_a_504(engine, router, kit, sent):
    silent = await engine(kit.answers_then_hangs(kit.STREAM_HEAD if sent else b""))
    running = await router([silent], RouterConfig(timeouts=Timeouts(first_byte="80ms")))
    status, body, _ = await running.asked()
    assert (status, error_of(body)["code"]) == (504, "first_byte_timeout")
    await kit.until(lambda: silent.hung_up == 1, "the engine sees the hang-up")
    assert running.in_flight == 0


async def test_only_the_total_limits_an_answer_that_is_not_streamed(engine, router, kit):
    silent = await engine(kit.answers_then_hangs())
    running = await router([silent], RouterConfig(timeouts=Timeouts(first_byte="50ms", total="200ms")))
    status, body, _ = await running.asked(body={"model": "mock"})
    assert (status, error_of(body)["code"]) == (504, "total_timeout")


async def test_equal_engines_share_evenly(engine, router, kit):
    engines = [await engine(kit.answers(kit.whole(WHOLE))) for _ in range(3)]
    running = await router(engines)
    for _ in range(12):
        await running.asked()
    assert [len(each.requests) for each in engines] == [4, 4, 4]


async def test_the_engine_with_fewer_requests_in_flight_gets_the_next(engine, router, kit):
    hanging = await engine(kit.answers_then_hangs())
    idle = await engine(kit.answers(kit.whole(WHOLE)))
    running = await router([hanging])
    waiting = asyncio.create_task(running.asked())
    await kit.until(lambda: running.in_flight == 1, "the first request is placed")
    running.show([hanging, idle])
    for _ in range(4):
        await running.asked()
    assert len(idle.requests) == 4
    waiting.cancel()
    await kit.until(lambda: running.in_flight == 0, "all have ended")


async def test_a_stream_outlives_its_endpoints_loss_from_discovery(engine, router, kit):
    go_on = asyncio.Event()

    async def script(connection):
        await connection.send(kit.STREAM_HEAD + kit.chunk(kit.token("a")))
        await go_on.wait()
        await connection.send(kit.chunk(kit.DONE) + kit.LAST_CHUNK)

    scripted = await engine(script)
    running = await router([scripted])
    async with running.post() as answer:
        await answer.content.readany()
        running.show([])
        (gone,) = running.router.endpoints()
        assert (gone.state, gone.in_flight) == ("gone", 1)
        go_on.set()
        assert (await answer.content.read()).endswith(kit.DONE)
    assert running.router.endpoints() == ()


async def test_models_are_the_configured_names(router):
    running = await router(config=RouterConfig(models=("mistral", "chat")))
    async with running.session.get(running.url + "/v1/models") as answer:
        models = await answer.json()
    assert models["object"] == "list"
    assert [model["id"] for model in models["data"]] == ["mistral", "chat"]


async def test_without_configured_names_models_are_what_the_engines_say(engine, router, kit, nowhere):
    def lists(*names):
        return kit.answers(kit.whole(json.dumps({"data": [{"id": name} for name in names]}).encode()))

    running = await router([await engine(lists("a", "b")), await engine(lists("b", "c")), nowhere])
    async with running.session.get(running.url + "/v1/models") as answer:
        models = await answer.json()
    assert {model["id"] for model in models["data"]} == {"a", "b", "c"}


async def test_a_request_leaves_nothing_to_the_garbage_collector(engine, router, kit):
    whole = await engine(kit.answers(kit.whole(WHOLE)))
    stream = await engine(kit.streams(kit.token("a", "stop"), kit.DONE))
    running = await router([whole, stream])
    gc.collect()
    gc.disable()
    try:
        for _ in range(4):
            await running.asked()
        assert not [found for found in gc.get_objects() if type(found) in (Exchange, Attempts, Response)]
    finally:
        gc.enable()


async def test_an_answer_of_the_routers_own_names_its_request(router):
    running = await router(config=RouterConfig(models=("m",)))
    async with running.session.get(running.url + "/v1/models", headers={"x-request-id": "mine"}) as answer:
        assert answer.headers["x-request-id"] == f"mine@{running.router.replica}"
        assert answer.headers["date"].endswith("GMT")


async def test_models_of_an_empty_pool_are_a_503(router):
    running = await router()
    async with running.session.get(running.url + "/v1/models") as answer:
        assert answer.status == 503
        assert error_of(await answer.read())["code"] == "no_endpoint"


async def test_only_names_that_an_engine_knows_become_labels(engine, router, kit):
    running = await router([await engine(kit.answers(kit.whole(b"{}", "404 Not Found")))])
    for number in range(3):
        await running.asked(body={"model": f"made-up-{number}"})
    count = running.sample("fairlead_router_request_duration_seconds_count", class_="default", model="other")
    assert count == 3


async def test_a_router_that_stops_takes_no_new_request_on_open_connections(engine, router, kit):
    running = await router([await engine(kit.answers(kit.whole(WHOLE)))])
    await running.asked()
    running.router.shutting_down = True
    status, body, headers = await running.asked()
    assert (status, error_of(body)["code"]) == (503, "shutting_down")
    assert "retry-after" in headers


async def test_interrupted_streams_end_with_an_error_event(engine, router, kit):
    running = await router([await engine(kit.answers_then_hangs(kit.STREAM_HEAD, kit.chunk(kit.token("a"))))])
    async with running.post() as answer:
        await answer.content.readany()
        running.relay.interrupt_all()
        rest = await answer.content.read()
    assert json.loads(rest.removeprefix(b"data: "))["error"]["code"] == "shutting_down"
    await running.relay.idle.wait()


async def test_a_fault_of_the_router_is_a_500_and_gives_its_place_back(engine, router, kit, monkeypatch, caplog):
    running = await router([await engine(kit.streams(kit.token("a"), kit.DONE))])

    def faulty(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(running.router.telemetry, "stream", faulty)
    status, body, _ = await running.asked()
    assert (status, error_of(body)["code"]) == (500, "internal_error")
    assert running.in_flight == 0
    assert running.ended(Reason.INTERNAL_ERROR) == 1
    assert "ZeroDivisionError" in caplog.text


async def test_the_admin_port_lists_endpoints_and_metrics_and_readiness(engine, router, kit):
    scripted = await engine(kit.answers(kit.whole(WHOLE)))
    running = await router([scripted])
    await running.asked()
    async with running.session.get(running.admin_url + "/admin/v1/endpoints") as answer:
        assert await answer.json() == [
            {
                "uid": scripted.address,
                "name": scripted.address,
                "address": scripted.address,
                "state": "ready",
                "inFlight": 0,
                "queued": 0,
                "breaker": "closed",
                "telemetry": "none",
                "engineRunning": None,
                "engineWaiting": None,
                "kvUsage": None,
                "kvTokens": None,
                "predictionError": 0.0,
            }
        ]
    async with running.session.get(running.admin_url + "/metrics") as answer:
        text = await answer.text()
        assert f'fairlead_router_in_flight{{endpoint="{scripted.address}",pool="local"}} 0.0' in text
        assert "fairlead_router_requests_total{" in text
    running.show([])
    for url in (running.url, running.admin_url):
        async with running.session.get(url + "/ready") as answer:
            assert answer.status == 200, "an empty pool does not make its router unready"
        async with running.session.get(url + "/health") as answer:
            assert answer.status == 200
    running.router.shutting_down = True
    async with running.session.get(running.admin_url + "/ready") as answer:
        assert (answer.status, (await answer.json())["waitingFor"]) == (503, ["shutting down"])


async def test_both_sides_send_small_packets_at_once(engine, router, kit):
    """Without TCP_NODELAY a client that delays its ACKs waits 40 ms for every first token."""
    scripted = await engine(kit.answers_then_hangs(kit.STREAM_HEAD, kit.chunk(kit.token("a"))))
    running = await router([scripted])
    async with running.post() as answer:
        await answer.content.readany()
        transports = asyncio.get_running_loop()._transports.values()
        sockets = [transport.get_extra_info("socket") for transport in transports]
        options = [sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for sock in sockets]
    assert len(options) == 4, "both ends of both connections"
    assert all(options)
