"""How far a long piece of work is: a bar on a terminal, a line now and then elsewhere."""

import sys
import time
from typing import Self

BAR_WIDTH = 24
BAR_INTERVAL_S = 0.1
LINE_INTERVAL_S = 5.0


class Meter:
    """Prints to standard error.

    Args:
        rows: How many there are, as far as is known.
        done: How many of them an earlier run did.
    """

    def __init__(self, name: str, rows: int | None, done: int) -> None:
        self._name, self._rows, self._done_before = name, rows, done
        self._is_terminal = sys.stderr.isatty()
        self._started = time.monotonic()
        self._shown = self._started
        self._is_line_open = False
        self._width = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Puts what is printed next, an error perhaps, below the bar."""
        if self._is_line_open:
            print(file=sys.stderr, flush=True)

    def show(self, done: int, note: str = "") -> None:
        """Shows the state, unless it was shown just now."""
        now = time.monotonic()
        if now - self._shown < (BAR_INTERVAL_S if self._is_terminal else LINE_INTERVAL_S):
            return
        self._shown = now
        self._print(self._describe(done, now, note))

    def end(self, message: str) -> None:
        """Leaves one last line."""
        self._print(f"{self._name}: {message}", "\n")

    def elapsed(self) -> str:
        return f"{time.monotonic() - self._started:.1f} s"

    def share(self, done: int) -> str:
        return f"{_percent(done, self._rows)} %" if self._rows else f"{done:,} rows"

    def _describe(self, done: int, now: float, note: str) -> str:
        speed = (done - self._done_before) / (now - self._started)
        parts = [f"{done:,} rows"]
        bar = ""
        if self._rows:
            parts = [self.share(done), f"{done:,} of about {self._rows:,} rows"]
            left = round(max(self._rows - done, 0) / speed) if speed else 0
            parts += [f"{left // 60}:{left % 60:02} left"] if speed else []
            full = BAR_WIDTH * _percent(done, self._rows) // 100
            bar = f" [{'#' * full}{'.' * (BAR_WIDTH - full)}]" if self._is_terminal else ""
        return f"{self._name}:{bar} {', '.join([*parts, *([note] if note else [])])}"

    def _print(self, line: str, end: str = "") -> None:
        if self._is_terminal:
            # Blanks over the end of a longer line: an escape code is not for every terminal.
            print(f"\r{line:{self._width}}", end=end, file=sys.stderr, flush=True)
            self._width = len(line)
            self._is_line_open = not end
        else:
            print(line, file=sys.stderr, flush=True)


def _percent(done: int, rows: int | None) -> int:
    # It is an estimate: only the end is 100 %.
    return min(99, 100 * done // rows) if rows else 0
