"""How many requests per second a pool can finish: every engine is kept supplied from one backlog.

That is what an ideal dispatcher gets out of the pool with these engines, without looking at anybody's SLO.
"""

from collections.abc import Iterator

from fairlead_engine.types import Request
from fairlead_simulator.fleet.pod import Pod
from fairlead_simulator.fleet.scenario import FleetScenario, PodSpec
from fairlead_simulator.lengths import Lengths

_BACKLOG = 8
"""Requests that wait at the engine: enough for any scheduler to fill its batches, too few to choose short ones from."""
_REQUESTS = 1600
_WARM_UP = 400
"""Requests that end before and while the rate is measured."""


def capacity(scenario: FleetScenario) -> float:
    """Return the requests per second that the pods of a scenario finish together under its mix of requests."""
    kinds = {spec: scenario.pods.count(spec) for spec in scenario.pods}
    return sum(number * _saturated(spec, _mix(scenario)) for spec, number in kinds.items())


def _mix(scenario: FleetScenario) -> Iterator[Lengths]:
    """Yield lengths without end, of all streams in their shares; which one is next depends on the seed alone."""
    streams = scenario.streams
    random = scenario.random("capacity")
    sources = [stream.lengths.lengths(scenario.random(f"capacity/{index}")) for index, stream in enumerate(streams)]
    shares = [stream.share for stream in streams]
    while True:
        yield next(random.choices(sources, shares)[0])


def _saturated(spec: PodSpec, mix: Iterator[Lengths]) -> float:
    """Return the requests per second of one pod."""
    pod = Pod("pod", spec)
    now = began = 0.0
    ended = number = 0
    while ended < _WARM_UP + _REQUESTS:
        while pod.waiting < _BACKLOG:
            lengths = next(mix)
            request = Request(
                str(number), lengths.prompt_tokens, lengths.output_tokens, block_hashes=lengths.block_hashes
            )
            pod.add(request, now)
            number += 1
        end = pod.begin(now)
        if end is None:
            raise RuntimeError(f"{spec.setup.label} gives no batch although requests wait")
        now = end
        for token in pod.end(now):
            ended += token.finished
            if token.finished and ended == _WARM_UP:
                began = now
    return _REQUESTS / (now - began)
