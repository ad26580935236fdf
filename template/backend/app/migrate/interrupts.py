"""Ctrl-C and the end of a container: what runs is stopped, and the exit code tells by what."""

import signal
from types import FrameType

_received: list[int] = []


def handle() -> None:
    """Has SIGTERM stop the process as SIGINT does: both cancel the statement that is running.

    A container's first process ignores SIGTERM unless it handles it.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    # A shell lets the processes in its background ignore it.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def is_interrupted() -> bool:
    """Whether a signal came, whatever has become of its exception since."""
    return bool(_received)


def exit_code() -> int:
    """130 for SIGINT, 143 for SIGTERM: 128 and the signal's number, as shells have it."""
    return 128 + (_received[0] if _received else signal.SIGINT)


def _interrupt(number: int, frame: FrameType | None) -> None:
    _received.append(number)
    raise KeyboardInterrupt
