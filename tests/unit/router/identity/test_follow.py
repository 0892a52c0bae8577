"""Keys that come and go without a restart."""

import asyncio

from fairlead_router.identity.follow import follow_keys
from fairlead_router.identity.gate import Gate
from fairlead_router.identity.keys import KeyRing, hash_of


def text(*keys: bytes) -> str:
    return "keys:\n" + "".join(f"- {{name: k{n}, hash: '{hash_of(key)}'}}\n" for n, key in enumerate(keys))


async def test_a_key_can_be_replaced_while_requests_run_and_a_broken_file_changes_nothing(tmp_path, kit):
    path = tmp_path / "keys.yaml"
    path.write_text(text(b"old"))
    rings: list[KeyRing] = []
    refused: list[Exception] = []
    task = asyncio.create_task(follow_keys(path, rings.append, lambda _, error: refused.append(error)))

    def known() -> set[bytes]:
        return {key for key in (b"old", b"new") if rings and rings[-1].principal(key)}

    await kit.until(lambda: known() == {b"old"}, "the first key")
    path.write_text(text(b"old", b"new"))
    await kit.until(lambda: known() == {b"old", b"new"}, "both keys, so that clients can change over")
    path.write_text("keys: [{name: a, hash: b}]")
    await kit.until(lambda: len(refused) == 1, "the broken file")
    assert known() == {b"old", b"new"}
    path.write_text(text(b"new"))
    await kit.until(lambda: known() == {b"new"}, "the new key alone")
    assert Gate(rings[-1]).identify([(b"x-api-key", b"new")]).name == "k0"
    task.cancel()
