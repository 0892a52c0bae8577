"""Bodies that change the engine: its adapters and its faults."""

from fairlead_engine.mock.bodies.base import Body
from fairlead_engine.mock.errors import bad_request
from fairlead_engine.mock.faults import Fault, FaultName


class LoadAdapterBody(Body):
    """Body of POST /v1/load_lora_adapter."""

    lora_name: str
    lora_path: str
    load_inplace: bool = False


class UnloadAdapterBody(Body):
    """Body of POST /v1/unload_lora_adapter."""

    lora_name: str


class FaultBody(Body):
    """One fault of PUT /admin/faults: the options of `--fault`."""

    name: FaultName
    value: float | None = None
    probability: float = 1.0
    next: int | None = None
    after: int | None = None

    def fault(self) -> Fault:
        """Return the fault; RequestError (400) where an option is wrong."""
        if self.name is FaultName.SLOW_START:
            raise bad_request(f"{self.name} is for --fault: this engine has started.", param="faults")
        try:
            return Fault(self.name, self.value, self.probability, self.next, self.after)
        except ValueError as error:
            raise bad_request(f"{error}.", param="faults") from error


class FaultsBody(Body):
    """Body of PUT /admin/faults."""

    seed: int = 0
    faults: list[FaultBody]
