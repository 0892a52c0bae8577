"""Follow the file of keys while it changes."""

from collections.abc import Callable
from pathlib import Path

from fairlead_router.files import Refuse, follow_file
from fairlead_router.identity.keys import KeyRing


async def follow_keys(path: Path, use: Callable[[KeyRing], None], refuse: Refuse) -> None:
    """Pass the keys of a file to `use`, at once and again whenever they change; a broken file changes nothing."""
    await follow_file(path, lambda text: use(KeyRing.from_yaml(text)), refuse)
