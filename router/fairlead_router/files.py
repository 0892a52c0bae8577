"""Follow files while they change: configuration, keys, certificates.

What changes a file may write it in place, rename another over it, or, as a mounted ConfigMap or Secret does, switch a
link that its folder is behind. So contents are compared, not times; folders are watched, not files. The watch only
makes it quick: files are read every second anyway, because a change can fall between the first read and the start of
the watch, some file systems report none, and a folder may not be there yet.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence, Set
from contextlib import aclosing, suppress
from pathlib import Path

from watchfiles import awatch

Refuse = Callable[[str, Exception], None]
"""Takes where a refused text came from, and why it was refused."""


async def follow_file(path: Path, use: Callable[[str], None], refuse: Refuse) -> None:
    """Pass a file's text to `use`, and again whenever it is another; a text that `use` refuses changes nothing."""
    await follow_files([path], lambda contents: use(contents[0].decode()), refuse)


async def follow_files(paths: Sequence[Path], use: Callable[[Sequence[bytes]], None], refuse: Refuse) -> None:
    """Pass the contents of all files to `use`, at once and again whenever one of them is another.

    What `use` refuses with an OSError or a ValueError is reported to `refuse`; so is a file that cannot be read, once
    until it can be read again.
    """
    source = ", ".join(map(str, paths))
    contents: tuple[bytes, ...] | None = None
    unreadable = ""
    async with aclosing(_moments({path.parent for path in paths})) as moments:
        async for _ in moments:
            try:
                found = tuple(map(_read, paths))
            except OSError as error:
                if str(error) != unreadable:
                    refuse(source, error)
                unreadable = str(error)
                continue
            unreadable = ""
            if found != contents:
                contents = found
                try:
                    use(found)
                except (OSError, ValueError) as error:
                    refuse(source, error)


async def _moments(folders: Set[Path]) -> AsyncGenerator[None, None]:
    """Yield now, whenever something changes in a folder, and every second."""
    while True:
        yield
        with suppress(FileNotFoundError):  # a folder that is not there yet cannot be watched
            async for _ in awatch(
                *folders, debounce=200, step=20, recursive=False, rust_timeout=1000, yield_on_timeout=True
            ):
                yield
        await asyncio.sleep(1)


def _read(path: Path) -> bytes:
    """Read a small local file; too short a pause for the loop to notice."""
    return path.read_bytes()
