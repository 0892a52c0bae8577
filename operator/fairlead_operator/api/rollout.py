"""The part of `InferencePool` that is about replacing engines."""

from typing import Self

from pydantic import Field, model_validator

from fairlead_operator.api.rules import rule, validations
from fairlead_router.config import Strict


class RolloutSpec(Strict):
    """How engines are replaced that are of an older revision, or on a cordoned node."""

    model_config = validations(
        rule(
            # the API server tries the rule on the default {}, before the defaults of the fields are filled in
            "!has(self.maxSurge) || self.maxSurge > 0 || (has(self.maxUnavailable) && self.maxUnavailable > 0)",
            "maxSurge and maxUnavailable must not both be 0: no engine could be replaced",
        )
    )

    max_surge: int = Field(
        default=1,
        ge=0,
        le=1000,
        description="Engines beyond replicas while others are being replaced; those that drain count.",
    )
    max_unavailable: int = Field(
        default=0, ge=0, le=1000, description="Engines below replicas that need not be ready meanwhile."
    )

    @model_validator(mode="after")
    def _something_may_move(self) -> Self:
        if self.max_surge == 0 and self.max_unavailable == 0:
            raise ValueError("maxSurge and maxUnavailable must not both be 0: no engine could be replaced")
        return self
