"""Figures of a stretch of time, from what routers expose."""

from math import inf

import pytest

from fairlead_router.console.figures import Scrape, Stretch, quantile

NAME = "fairlead_router_"


def exposed(offered: int, good: int, rejected: int = 0, ttft: tuple[int, int, int] = (0, 0, 0), queued: int = 0) -> str:
    """Return what a router says of its one class; `ttft` counts answers within 0.1 s, within 1 s, and all."""
    of = 'pool="p",class="c"'
    return "\n".join(
        [
            f"# TYPE {NAME}offered_requests counter",
            f"{NAME}offered_requests_total{{{of}}} {offered}",
            f"# TYPE {NAME}good_requests counter",
            f"{NAME}good_requests_total{{{of}}} {good}",
            f"# TYPE {NAME}requests counter",
            f'{NAME}requests_total{{{of},verdict="run",reason="completed"}} {offered - rejected}',
            f'{NAME}requests_total{{{of},verdict="reject",reason="queue_full"}} {rejected}',
            f"# TYPE {NAME}queue_depth gauge",
            f"{NAME}queue_depth{{{of}}} {queued}",
            f"# TYPE {NAME}ttft_seconds histogram",
            *(
                f'{NAME}ttft_seconds_bucket{{{of},model="m",le="{edge}"}} {count}'
                for edge, count in zip(("0.1", "1.0", "+Inf"), ttft, strict=True)
            ),
            "",
        ]
    )


def stretch(before: list[str] | None, now: list[str], seconds: float | None = 10.0) -> Stretch:
    return Stretch(Scrape(now), None if before is None else Scrape(before), seconds)


def test_a_class_is_judged_by_what_has_ended_meanwhile():
    [figures] = stretch([exposed(100, 90)], [exposed(150, 130, rejected=5)]).classes()
    assert (figures.offered_per_second, figures.good, figures.rejected) == (5.0, 0.8, 0.1)


def test_several_routers_add_up():
    [figures] = stretch([exposed(10, 10), exposed(0, 0)], [exposed(20, 20), exposed(30, 10, queued=3)]).classes()
    assert (figures.offered_per_second, figures.good, figures.queued) == (4.0, 0.5, 3)


def test_a_router_that_began_anew_counts_from_zero():
    [figures] = stretch([exposed(100, 100)], [exposed(20, 10)]).classes()
    assert (figures.offered_per_second, figures.good) == (2.0, 0.5)


def test_without_an_earlier_look_all_counts_and_there_is_no_rate():
    [figures] = stretch(None, [exposed(20, 10)], seconds=None).classes()
    assert (figures.offered_per_second, figures.good) == (0.0, 0.5)


def test_of_nothing_there_is_no_share():
    [figures] = stretch([exposed(20, 10)], [exposed(20, 10)]).classes()
    assert (figures.good, figures.rejected, figures.ttft_p95) == (None, None, None)


def test_quantiles_are_of_the_stretch_alone():
    before, now = exposed(10, 0, ttft=(0, 0, 10)), exposed(20, 10, ttft=(10, 10, 20))
    [figures] = stretch([before], [now]).classes()
    assert figures.ttft_p95 == pytest.approx(0.095)


@pytest.mark.parametrize(
    ("cumulative", "share", "expected"),
    [
        ({}, 0.5, None),
        ({1.0: 0, inf: 0}, 0.5, None),
        ({1.0: 10, inf: 10}, 0.5, 0.5),
        ({1.0: 5, 2.0: 10, inf: 10}, 0.75, 1.5),
        ({1.0: 5, inf: 10}, 0.9, 1.0),  # all that is known of the rest is that it is longer
    ],
)
def test_a_quantile_is_estimated_as_prometheus_does(cumulative, share, expected):
    assert quantile(cumulative, share) == expected
