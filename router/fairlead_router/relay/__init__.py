"""The relay: a request's way to an engine and the answer's way back."""
