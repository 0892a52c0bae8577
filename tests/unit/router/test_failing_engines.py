"""What a whole router makes of engines that fail: breakers, and the budget of retries."""

from ports import free_port

from fairlead_router.config import Retries, RouterConfig


def nobody_listens() -> str:
    return f"127.0.0.1:{free_port()}"


async def breakers(running) -> dict[str, str]:
    async with running.session.get(running.admin_url + "/admin/v1/endpoints") as answer:
        return {each["uid"]: each["breaker"] for each in await answer.json()}


async def test_a_retry_that_the_budget_does_not_allow_is_counted_and_the_client_gets_the_error(router):
    config = RouterConfig(retries=Retries(attempts=2, budget=0.0, backoff="1ms"))
    running = await router([nobody_listens(), nobody_listens()], config)
    for _ in range(11):
        status, body, _ = await running.asked()
        assert status == 502
        assert b'"code":"engine_unreachable"' in body
    assert running.sample("fairlead_router_retries_total", reason="connect_failed") == 10
    assert running.sample("fairlead_router_retries_withheld_total") == 1


async def test_an_engine_that_fails_often_enough_gets_no_more_requests_and_all_can_see_it(router, engine, kit):
    failing = await engine(kit.answers(kit.whole(b'{"error":{}}', "500 Internal Server Error")))
    working = await engine(kit.streams(kit.token(), kit.DONE))
    running = await router([failing, working], RouterConfig(policy="round-robin"))
    statuses = [(await running.asked())[0] for _ in range(30)]
    assert statuses.count(500) == RouterConfig().breaker.failures
    assert await breakers(running) == {failing.address: "open", working.address: "closed"}
    assert running.sample("fairlead_router_endpoint_breaker", endpoint=failing.address, state="open") == 1


async def test_a_request_that_engines_refuse_for_what_it_is_opens_no_breaker(router, engine, kit):
    strict = await engine(kit.answers(kit.whole(b'{"error":{}}', "400 Bad Request")))
    running = await router([strict])
    for _ in range(10):
        await running.asked()
    assert await breakers(running) == {strict.address: "closed"}


async def test_engines_are_tried_although_the_breakers_of_all_are_open(router, engine, kit):
    broken = True

    async def script(connection):
        answer = kit.whole(b'{"error":{}}', "500 Internal Server Error")
        await (kit.answers(answer) if broken else kit.streams(kit.token(), kit.DONE))(connection)

    running = await router([await engine(script)])
    for _ in range(8):
        assert (await running.asked())[0] == 500
    assert set((await breakers(running)).values()) == {"open"}
    broken = False
    assert (await running.asked())[0] == 200
    assert set((await breakers(running)).values()) == {"closed"}
