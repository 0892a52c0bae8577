"""Ports for servers that are told where to listen."""

import random
import socket

_BELOW_THE_SYSTEM_S_OWN = range(10_000, 32_000)
"""Connections that go out get ports above: one of those may be taken between choosing it and listening there."""


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    while True:
        port = random.choice(_BELOW_THE_SYSTEM_S_OWN)
        with socket.socket() as unused:
            try:
                unused.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
