"""Tells which revision is running."""

import logging
import sys
import time
from types import TracebackType

from alembic.runtime.migration import RevisionStep


class Progress(logging.Handler):
    """While active, prints each revision to standard error as Alembic logs its start."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.step: RevisionStep | None = None
        self._started_at = 0.0
        self._logger = logging.getLogger("alembic.runtime.migration")

    def __enter__(self) -> None:
        self._logger.addHandler(self)
        self._logger.setLevel(logging.INFO)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._logger.removeHandler(self)

    def elapsed_ms(self) -> int:
        """How long the revision has been running."""
        return round((time.monotonic() - self._started_at) * 1000)

    def emit(self, record: logging.LogRecord) -> None:
        step = record.args[0] if isinstance(record.args, tuple) and record.args else None
        if isinstance(step, RevisionStep):
            self.step = step
            self._started_at = time.monotonic()
            print(record.getMessage(), file=sys.stderr, flush=True)
