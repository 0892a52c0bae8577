"""A request's progress through the engine."""

import enum

from fairlead_engine.types import Request, Token


class Phase(enum.Enum):
    """Where a request is."""

    WAITING = "waiting"
    """In the waiting list; holds no memory."""
    PREFILLING = "prefilling"
    """Admitted; its prompt is not complete."""
    DECODING = "decoding"
    """Its prompt is complete, and it owes tokens."""
    GONE = "gone"
    """Finished or aborted."""


class Sequence:
    """A request and how far it is. Schedulers read it; only the engine core changes it.

    Per output token, no more happens to it than one addition and one comparison: `end_tokens` says at how many computed
    tokens it ends, and `capacity_tokens` at how many its next block is due.
    """

    __slots__ = (
        "arrived",
        "blocks",
        "blocks_looked_up",
        "capacity_tokens",
        "computed_tokens",
        "end_tokens",
        "held_hashes",
        "last_token",
        "number",
        "phase",
        "position",
        "prefill_tokens",
        "request",
        "request_id",
        "token",
    )

    def __init__(self, request: Request, number: int, arrived: float, end_tokens: int) -> None:
        self.request = request
        self.request_id = request.request_id
        self.number = number
        """Arrival number: lower came earlier."""
        self.arrived = arrived
        """When it arrived, in seconds of the driver's clock."""
        self.position = number
        """Place in the waiting list: what is preempted gets one before all others."""
        self.phase = Phase.WAITING
        self.prefill_tokens = request.prompt_tokens
        """Tokens to compute before the next decode: the prompt and, after a preemption, the tokens generated so far."""
        self.computed_tokens = 0
        """Tokens whose keys and values are in memory."""
        self.end_tokens = end_tokens
        """Computed tokens at which the last token is out."""
        self.blocks = 0
        self.capacity_tokens = 0
        """Tokens that its blocks have room for."""
        self.held_hashes: list[int] = []
        """Blocks that it shares with the prefix cache."""
        self.blocks_looked_up = 0
        """Blocks that were found in, or offered to, the prefix cache."""
        self.token = Token(request.request_id, finished=False)
        self.last_token = Token(request.request_id, finished=True)

    @property
    def prefill_left(self) -> int:
        """Prompt tokens that are not computed."""
        return self.prefill_tokens - self.computed_tokens

    @property
    def generated_tokens(self) -> int:
        """Tokens that a decoding request has had."""
        return self.request.output_tokens - (self.end_tokens - self.computed_tokens)
