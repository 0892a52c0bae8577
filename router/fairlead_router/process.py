"""What every process of a router does at its start."""

import logging
import os
import resource
import sys

logger = logging.getLogger(__name__)


def set_up_logging(level: str, process: str = "") -> None:
    """Log to stderr what is at least as severe as `level`; `process` tells processes of one router apart."""
    told = f"%(asctime)s %(levelname)s {process}{' ' if process else ''}%(name)s: %(message)s"
    logging.basicConfig(level=level.upper(), stream=sys.stderr, format=told)
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # faults are logged where they are answered
    logging.getLogger("watchfiles").setLevel(logging.WARNING)  # it tells every change in a folder: of a log there, too


def leave_to_parent_what_terminals_say() -> None:
    """Leave the terminal's group of processes: Ctrl-C is for the supervisor, which tells its children."""
    os.setpgid(0, 0)


def allow_open_files() -> int:
    """Allow as many open files as the system lets us, and return how many; every connection is one.

    The usual soft limit of 1024 is kept low for programs that use select(); asyncio does not.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError) as error:
            logger.warning("open files stay limited to %d: %s", soft, error)
            return soft
    return hard
