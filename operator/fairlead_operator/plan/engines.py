"""Which engines to create and which to drain.

An engine belongs to a slot: its name is the pool's name and the lowest free number. Names that follow from what was
observed make creation idempotent: an operator that died after creating an engine, or that plans from a view a moment
too old, asks for the same name again and creates nothing twice.

A change of the spec gives engines another revision. Engines of an older revision, and those whose node is cordoned, are
replaced a few at a time: as many more than declared may exist as the surge says, and as many fewer may serve as may be
unavailable. By default one more and none fewer: no engine that serves is drained before another serves in its place.

An engine that is to go is drained (`drain.py`) whatever the reason, and one that drains does not come back: it counts as
gone for the declared number, so that another takes its place, and as there for the surge, because it still has its GPU.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import count

from fairlead_operator.types import Engine, EnginePlan, Removal, Wanted


def plan_engines(pool: str, wanted: Wanted, engines: Sequence[Engine], in_flight: Mapping[str, int]) -> EnginePlan:
    """Plan the next step from the engines that exist to those that are wanted.

    `in_flight` is how many requests run on an engine as far as is known, by uid.
    """
    replicas, revision = wanted.replicas, wanted.revision
    live = [engine for engine in engines if not engine.terminating and not engine.ended and not engine.draining]
    ended = [engine for engine in engines if engine.ended and not engine.terminating]
    current = [engine for engine in live if stays(engine, revision)]
    outdated = [engine for engine in live if not stays(engine, revision)]

    room = replicas - len(live)
    if outdated:
        draining = sum(engine.draining and not engine.terminating and not engine.ended for engine in engines)
        room = replicas + wanted.surge - len(live) - draining
    missing = max(0, min(replicas - len(current), room))
    names = _free_names(pool, engines)
    return EnginePlan(
        create=tuple(next(names) for _ in range(missing)),
        drain=(
            *_outdated_to_drain(wanted, current, outdated, in_flight),
            *_surplus(replicas, current, in_flight),
        ),
        remove=tuple(Removal(engine, "it ended") for engine in ended),
    )


def stays(engine: Engine, revision: str) -> bool:
    """Tell whether an engine need not be replaced."""
    return engine.revision == revision and not engine.cordoned


def _outdated_to_drain(
    wanted: Wanted,
    current: Sequence[Engine],
    outdated: Sequence[Engine],
    in_flight: Mapping[str, int],
) -> list[Removal]:
    """Give the engines to be replaced that nobody needs any more, those that do not serve first."""
    serving = sum(engine.ready for engine in (*current, *outdated))
    spare = max(0, serving - max(0, wanted.replicas - wanted.unavailable))
    idle = [engine for engine in outdated if not engine.ready]
    replaced = victims([engine for engine in outdated if engine.ready], in_flight)[:spare]
    return [Removal(engine, _why(engine, wanted.revision)) for engine in (*idle, *replaced)]


def _why(engine: Engine, revision: str) -> str:
    return "its revision is outdated" if engine.revision != revision else "its node is cordoned"


def _surplus(replicas: int, current: Sequence[Engine], in_flight: Mapping[str, int]) -> list[Removal]:
    """Give the engines beyond the declared number."""
    surplus = max(0, len(current) - replicas)
    return [Removal(engine, "the pool was scaled down") for engine in victims(current, in_flight)[:surplus]]


def victims(engines: Sequence[Engine], in_flight: Mapping[str, int]) -> list[Engine]:
    """Sort engines, the one that is missed least first: it does not serve, has the fewest requests, is the newest."""
    return sorted(
        engines,
        key=lambda engine: (engine.ready, in_flight.get(engine.uid, 0), -engine.created_seconds, -slot(engine.name)),
    )


def _free_names(pool: str, engines: Sequence[Engine]) -> Iterator[str]:
    taken = {engine.name for engine in engines}
    return (name for free in count() if (name := engine_name(pool, free)) not in taken)


def engine_name(pool: str, in_slot: int) -> str:
    """Name the engine in a slot."""
    return f"{pool}-engine-{in_slot}"


def slot(name: str) -> int:
    """Give the slot of an engine by its name; the API server dates pods to the second, slots break ties."""
    return int(name.rpartition("-")[2])
