"""How long requests of a class take from their placement to their first token, whatever they are and wherever they go.

Where an engine's pace predicts that badly, most of all because others send requests to it that this router does not see,
this is what is left to go by. Classes differ in their prompts, so each has its own.
"""

from typing import Final

_WEIGHT: Final = 0.05
"""Of one request."""
DEVIATIONS: Final = 2.0
"""Mean deviations to spare: about one request in twenty takes longer."""


class FirstTokens:
    """Those of one pool."""

    def __init__(self) -> None:
        self._of_class: dict[str, tuple[float, float]] = {}

    def note(self, service_class: str, seconds: float) -> None:
        """Note a first token that came so long after the placement."""
        mean, deviation = self._of_class.get(service_class, (seconds, 0.0))
        unusual = seconds - mean
        self._of_class[service_class] = (
            mean + _WEIGHT * unusual,
            deviation + _WEIGHT * (abs(unusual) - deviation),
        )

    def late(self, service_class: str) -> float:
        """Return how long it takes when it takes long; 0 where nobody knows."""
        mean, deviation = self._of_class.get(service_class, (0.0, 0.0))
        return mean + DEVIATIONS * deviation
