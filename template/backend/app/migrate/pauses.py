"""How long to wait between two tries."""

import random
import time
from collections.abc import Iterator

POLL_S = (0.05, 2.0)  # the first and the longest pause between two tries


def backoff(total_s: float) -> Iterator[float]:
    """Pauses in seconds that grow and differ between processes, until their time is over.

    Exponential with full jitter: see "Exponential Backoff And Jitter", AWS Architecture Blog.
    """
    deadline = time.monotonic() + total_s
    longest = POLL_S[0]
    while (left := deadline - time.monotonic()) > 0:
        yield min(left, random.uniform(POLL_S[0] / 2, longest))  # noqa: S311 - no secret
        longest = min(longest * 2, POLL_S[1])
