"""Which engines to create and which to remove.

An engine belongs to a slot: its name is the pool's name and the lowest free number. Names that follow from what was
observed make creation idempotent: an operator that died after creating an engine, or that plans from a view a moment
too old, asks for the same name again and creates nothing twice.

A change of the spec gives engines another revision. Engines of an older revision are replaced one at a time: one more
than declared may exist, and none that serves is removed before another serves in its place.
"""

from collections.abc import Iterator, Sequence
from itertools import count

from fairlead_operator.types import Engine, EnginePlan, Removal

SURGE = 1
"""Engines beyond the declared number while older ones are being replaced."""


def plan_engines(pool: str, replicas: int, revision: str, engines: Sequence[Engine]) -> EnginePlan:
    """Plan the next step from the engines that exist to `replicas` engines of `revision`."""
    live = [engine for engine in engines if not engine.terminating and not engine.ended]
    ended = [engine for engine in engines if engine.ended and not engine.terminating]
    current = [engine for engine in live if engine.revision == revision]
    outdated = [engine for engine in live if engine.revision != revision]

    room = replicas + (SURGE if outdated else 0) - len(live)
    missing = max(0, min(replicas - len(current), room))
    names = _free_names(pool, engines)
    return EnginePlan(
        create=tuple(next(names) for _ in range(missing)),
        remove=(
            *(Removal(engine, "it ended") for engine in ended),
            *_outdated_to_remove(replicas, current, outdated),
            *_surplus(replicas, current),
        ),
    )


def _outdated_to_remove(replicas: int, current: Sequence[Engine], outdated: Sequence[Engine]) -> list[Removal]:
    """Give the older engines that nobody needs any more, those that do not serve first."""
    serving = sum(engine.ready for engine in (*current, *outdated))
    spare = max(0, serving - replicas)
    idle = [engine for engine in outdated if not engine.ready]
    replaced = by_age([engine for engine in outdated if engine.ready])[:spare]
    return [Removal(engine, "its revision is outdated") for engine in (*idle, *replaced)]


def _surplus(replicas: int, current: Sequence[Engine]) -> list[Removal]:
    """Give the engines beyond the declared number: those that do not serve first, then the newest."""
    victims = sorted(current, key=lambda engine: (engine.ready, -engine.created_seconds, -slot(engine.name)))
    surplus = max(0, len(current) - replicas)
    return [Removal(engine, "the pool was scaled down") for engine in victims[:surplus]]


def by_age(engines: Sequence[Engine]) -> list[Engine]:
    """Sort engines, the oldest first."""
    return sorted(engines, key=lambda engine: (engine.created_seconds, slot(engine.name)))


def _free_names(pool: str, engines: Sequence[Engine]) -> Iterator[str]:
    taken = {engine.name for engine in engines}
    return (name for free in count() if (name := engine_name(pool, free)) not in taken)


def engine_name(pool: str, in_slot: int) -> str:
    """Name the engine in a slot."""
    return f"{pool}-engine-{in_slot}"


def slot(name: str) -> int:
    """Give the slot of an engine by its name; the API server dates pods to the second, slots break ties."""
    return int(name.rpartition("-")[2])
