"""The part of `InferencePool` that is about engines that are to go."""

from pydantic import Field

from fairlead_router.config import Duration, Strict, seconds


class DrainSpec(Strict):
    """What becomes of requests that run on an engine that is to go."""

    timeout: Duration = Field(
        default="5m",
        description="Longest time that running requests get to end by themselves, from the moment in which the engine "
        "gets no new ones. The engine is deleted as soon as nothing runs there.",
    )

    @property
    def timeout_seconds(self) -> float:
        """The timeout in seconds."""
        return seconds(self.timeout)
