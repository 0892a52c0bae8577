"""Keep the values of labels few, whatever clients send."""

from collections.abc import Iterable

MAX_LEARNT_MODELS = 64
"""Bound on the label `model` where the configuration does not list the models."""
OTHER_MODEL = "other"


class ModelNames:
    """Bounds the label `model`: the configured names or, where there are none, names that an engine knows.

    A client can send any name; only one that an engine has answered well becomes a label, and at most
    `MAX_LEARNT_MODELS` of them. All others are `other`.
    """

    def __init__(self, configured: Iterable[str]) -> None:
        self._names = set(configured)
        self._learns = not self._names

    def label(self, model: str, *, known: bool) -> str:
        """Return the label for a model; `known` says that an engine has answered for it."""
        if self._learns and known and len(self._names) < MAX_LEARNT_MODELS:
            self._names.add(model)
        return model if model in self._names else OTHER_MODEL
