"""Files that are followed: however they are changed, and whatever becomes of them."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fairlead_router.files import follow_file, follow_files


@dataclass
class Follower:
    """What was used and what was refused; a content with an exclamation mark is refused."""

    used: list[tuple[bytes, ...]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def use(self, contents: Sequence[bytes]) -> None:
        if any(b"!" in content for content in contents):
            raise ValueError("no exclamation marks")
        self.used.append(tuple(contents))

    def refuse(self, source: str, error: Exception) -> None:
        self.refused.append(f"{source}: {error}")


@contextlib.asynccontextmanager
async def following(*paths: Path):
    follower = Follower()
    task = asyncio.create_task(follow_files(paths, follower.use, follower.refuse))
    yield follower
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_files_are_used_at_once_and_again_when_one_changes(tmp_path, kit):
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_bytes(b"1")
    second.write_bytes(b"2")
    async with following(first, second) as follower:
        await kit.until(lambda: follower.used == [(b"1", b"2")], "what is there")
        second.write_bytes(b"3")
        await kit.until(lambda: follower.used[1:] == [(b"1", b"3")], "what was written")


async def test_a_replaced_file_is_another(tmp_path, kit):
    path = tmp_path / "a"
    path.write_bytes(b"1")
    async with following(path) as follower:
        await kit.until(lambda: follower.used == [(b"1",)], "what is there")
        (tmp_path / "new").write_bytes(b"2")
        (tmp_path / "new").rename(path)
        await kit.until(lambda: follower.used[1:] == [(b"2",)], "what replaced it")


async def test_a_mounted_secret_that_kubelet_renews_is_followed(tmp_path, kit):
    """kubelet keeps files behind a link to a folder, and switches that link."""
    for name, content in (("v1", b"1"), ("v2", b"2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "keys.yaml").write_bytes(content)
    (tmp_path / "..data").symlink_to("v1")
    (tmp_path / "keys.yaml").symlink_to("..data/keys.yaml")
    async with following(tmp_path / "keys.yaml") as follower:
        await kit.until(lambda: follower.used == [(b"1",)], "what is there")
        (tmp_path / "..data_tmp").symlink_to("v2")
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")
        await kit.until(lambda: follower.used[1:] == [(b"2",)], "what the link leads to now")


async def test_what_is_refused_is_reported_once_and_what_comes_next_is_used(tmp_path, kit):
    path = tmp_path / "a"
    path.write_bytes(b"1")
    async with following(path) as follower:
        await kit.until(lambda: follower.used == [(b"1",)], "what is there")
        path.write_bytes(b"!")
        await kit.until(lambda: follower.refused == [f"{path}: no exclamation marks"], "the refusal")
        path.write_bytes(b"2")
        await kit.until(lambda: follower.used[1:] == [(b"2",)], "the next")
        assert len(follower.refused) == 1


async def test_a_file_in_a_folder_that_is_not_there_yet_is_reported_once_and_found_later(tmp_path, kit):
    path = tmp_path / "later" / "a"
    async with following(path) as follower:
        await kit.until(lambda: len(follower.refused) == 1, "the missing file")
        assert str(path) in follower.refused[0]
        path.parent.mkdir()
        path.write_bytes(b"1")
        await kit.until(lambda: follower.used == [(b"1",)], "the file")
        path.unlink()
        await kit.until(lambda: len(follower.refused) == 2, "missing again")


async def test_bytes_that_are_no_text_are_refused(tmp_path, kit):
    path = tmp_path / "a"
    path.write_bytes(b"\xff")
    refused: list[str] = []
    task = asyncio.create_task(follow_file(path, lambda _: None, lambda source, _: refused.append(source)))
    await kit.until(lambda: refused == [str(path)], "the refusal")
    task.cancel()
