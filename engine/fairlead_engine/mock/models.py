"""Names under which the engine serves: its model, its aliases, and LoRA adapters that come and go."""

import time
from typing import Any

from fairlead_engine.mock.bodies.admin import LoadAdapterBody, UnloadAdapterBody
from fairlead_engine.mock.errors import RequestError, model_not_found
from fairlead_engine.mock.settings import Settings


class Models:
    """The models of one engine."""

    def __init__(self, settings: Settings) -> None:
        self._names = settings.served_model_names
        self._max_model_len = settings.max_model_len
        self._started_unix_seconds = int(time.time())
        self._adapters = dict(settings.lora_modules)

    def adapter(self, model: str | None) -> str | None:
        """Return the adapter that `model` names, None for the base model; RequestError (404) for any other name."""
        if not model or model in self._names:
            return None
        if model in self._adapters:
            return model
        raise model_not_found(model, self._names)

    def shown_name(self, adapter: str | None) -> str:
        """Return the `model` of responses."""
        return self._names[0] if adapter is None else adapter

    def load(self, body: LoadAdapterBody) -> str:
        """Add an adapter and return what vLLM says then; RequestError (400) where it cannot be added."""
        name = body.lora_name
        if not name or not body.lora_path:
            raise _invalid("lora_name and lora_path must not be empty.")
        if name in self._names:
            raise _invalid(f"{name!r} is the name of a served model; give the adapter another.")
        if name in self._adapters and not body.load_inplace:
            raise _invalid(f"The adapter {name!r} has been loaded; set load_inplace to load it again.")
        self._adapters[name] = body.lora_path
        return f"Success: LoRA adapter '{name}' added successfully."

    def unload(self, body: UnloadAdapterBody) -> str:
        """Remove an adapter and return what vLLM says then; RequestError (404) where there is none."""
        if self._adapters.pop(body.lora_name, None) is None:
            raise RequestError(404, f"There is no adapter {body.lora_name!r}.", kind="NotFoundError")
        return f"Success: LoRA adapter '{body.lora_name}' removed successfully."

    def cards(self) -> list[dict[str, Any]]:
        """Return the entries of /v1/models: the model by all its names, then its adapters."""
        base = self._names[0]
        return [
            *(self._card(name, root=base, parent=None, max_model_len=self._max_model_len) for name in self._names),
            *(
                self._card(name, root=path, parent=base, max_model_len=None)
                for name, path in sorted(self._adapters.items())
            ),
        ]

    def _card(self, name: str, *, root: str, parent: str | None, max_model_len: int | None) -> dict[str, Any]:
        return {
            "id": name,
            "object": "model",
            "created": self._started_unix_seconds,
            "owned_by": "fairlead",
            "root": root,
            "parent": parent,
            "max_model_len": max_model_len,
            "permission": [],
        }


def _invalid(message: str) -> RequestError:
    return RequestError(400, message, kind="InvalidUserInput")
