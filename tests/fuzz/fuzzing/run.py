"""Draw cases and play them until the time is up; what breaks a rule is made small enough to read."""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from hypothesis import HealthCheck, Phase, given, seed, settings

from fuzzing.cases import Case
from fuzzing.minimise import minimised
from fuzzing.player import player
from fuzzing.strategies import cases

CORPUS: Final = Path(__file__).parents[1] / "corpus"
CASES_IN_A_ROUND: Final = 200
MAX_FAILURES: Final = 5


@dataclass(frozen=True, slots=True)
class Failure:
    """A case that has broken a rule, as small as it could be made."""

    case: Case
    what: str


@dataclass
class Findings:
    """What came of it."""

    cases: int = 0
    callers: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)


def fuzz(seconds: float, first_seed: int, say: Callable[[str], None]) -> Findings:
    """Play rounds of cases, each round with a seed of its own, for `seconds` or until `MAX_FAILURES` have failed."""
    findings, ends, number = Findings(), time.monotonic() + seconds, first_seed
    with player() as playing:
        while time.monotonic() < ends and len(findings.failures) < MAX_FAILURES:
            drawn = draw(number, CASES_IN_A_ROUND)
            for case, what in playing.play(drawn):
                if what and len(findings.failures) < MAX_FAILURES:
                    say(f"seed {number}: {what:.1000}\n  ... making the case smaller")
                    small = minimised(case, lambda smaller: bool(playing.wrong_with(smaller)))
                    findings.failures.append(Failure(small, playing.wrong_with(small) or what))
            findings.cases += len(drawn)
            findings.callers += sum(len(case.callers) for case in drawn)
            findings.answers = playing.answers
            most = ", ".join(f"{count} {reason}" for reason, count in findings.answers.most_common(5))
            say(f"{max(0, ends - time.monotonic()):4.0f} s left, {findings.cases} cases, {most}")
            number += 1
    return findings


def replay(files: Iterable[Path]) -> list[Failure]:
    """Play the cases in files again; returns those that break a rule."""
    with player() as playing:
        played = playing.play([Case.from_json(file.read_text()) for file in files])
    return [Failure(case, what) for case, what in played if what]


def draw(number: int, count: int) -> list[Case]:
    """Return cases that hypothesis draws with a seed."""
    drawn: list[Case] = []

    @seed(number)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases)
    def note(case: Case) -> None:
        drawn.append(case)

    note()
    return drawn
