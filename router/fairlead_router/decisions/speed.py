"""What a choice between endpoints takes their paces for: engines that are alike count as equal.

Two fits of like engines always differ by a little. A choice that went by that little would send every request of an idle
pool to the same engine, and the others, which then show nothing, would never come to be known better. So an endpoint
counts as its pool does until it has shown itself to be different, and what the pool counts as stays as it is until what
has been learnt is no longer close to it.
"""

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from fairlead_router.decisions.pace import Pace

ALIKE: Final = 0.2
"""Relative difference of the times of batches, and of prompts, up to which an engine counts as its pool does."""
CLOSE: Final = 0.1
"""And up to which a pool counts as it has."""


class Speed(NamedTuple):
    """T(n) = base + token * n seconds for a batch of n tokens; a first token takes `bias` times as long as predicted."""

    base_seconds: float
    token_seconds: float
    bias: float

    @classmethod
    def of(cls, pace: "Pace") -> "Speed":
        """Return a pace as it is now."""
        return cls(pace.base_seconds, pace.token_seconds, pace.bias)

    def like(self, pace: "Pace", tolerance: float) -> bool:
        """Whether batches such as that pace was learnt from take as long at it, and prompts, within a relative tolerance.

        Of other batches it says nothing but what it began with.
        """
        usual_tokens, large_tokens = pace.seen_tokens
        usual = self.base_seconds + self.token_seconds * usual_tokens
        large = (self.base_seconds + self.token_seconds * large_tokens) * self.bias
        return (
            abs(pace.batch_seconds(usual_tokens) - usual) <= tolerance * usual
            and abs(pace.batch_seconds(large_tokens) * pace.bias - large) <= tolerance * large
        )
