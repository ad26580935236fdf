"""Tells which revision is running, what it waits for, and how long it took."""

import json
import logging
import os
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TextIO

from alembic.runtime.migration import MigrationContext, RevisionStep
from sqlalchemy import text

from app.migrate.sessions import Session, describe_sessions

# The same news again only after this long.
REPEAT_S = 10


class Progress(logging.Handler):
    """While active, reports each revision as Alembic logs its start.

    In lines for people to standard error, or in lines of JSON to `events`.
    """

    def __init__(self, events: TextIO | None = None) -> None:
        super().__init__(logging.INFO)
        self.events = events
        self.step: RevisionStep | None = None
        self.finished: list[str] = []
        self.heads: set[str] | None = None  # where the last revision led
        self.place = ""  # where the database is in the end
        self.notes: dict[str, str] = {}  # for the ledger, by revision
        # Then the running revision can't simply be run again.
        self.is_partly_committed = False
        # Whether something of the running revision is in the database for good.
        self.has_changed = False
        # What to type for what is left of the work.
        self.again = ""
        self._created_at = self._started_at = time.monotonic()
        self._tries = 0
        self._waits_said: tuple[object, float] = (None, 0.0)
        self._logger = logging.getLogger("alembic.runtime.migration")

    def __enter__(self) -> "Progress":
        self._logger.addHandler(self)
        self._logger.setLevel(logging.INFO)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._logger.removeHandler(self)

    @property
    def revision(self) -> str:
        """The revision that is running or ran last; empty before the first."""
        return self.step.revision.revision if self.step else ""

    @property
    def direction(self) -> str:
        return "upgrade" if self.step is None or self.step.is_upgrade else "downgrade"

    def elapsed_ms(self) -> int:
        """How long the revision has been running, the waiting included."""
        return round((time.monotonic() - self._started_at) * 1000)

    def emit(self, record: logging.LogRecord) -> None:
        step = record.args[0] if isinstance(record.args, tuple) and record.args else None
        if not isinstance(step, RevisionStep):
            return
        self.is_partly_committed = self.has_changed = False
        if step == self.step:
            self._tries += 1
            return
        self.step, self._tries, self._started_at = step, 1, time.monotonic()
        self._say(record.getMessage(), "started", direction=self.direction, message=step.doc)

    def commits(self, changes: bool) -> None:
        """Notes that the running revision commits something, and whether that changes anything."""
        self.is_partly_committed = True
        self.has_changed |= changes

    def waits(self, what: str, blockers: Sequence[Session]) -> None:
        """Says what is waited for and who has it, when that is news."""
        news, now = (what, self.revision, [blocker.pid for blocker in blockers]), time.monotonic()
        if news == self._waits_said[0] and now < self._waits_said[1] + REPEAT_S:
            return
        self._waits_said = news, now
        line = f"  waits for {what}: {describe_sessions(blockers)}"
        self._say(line, "waiting", what=what, blockers=[vars(blocker) for blocker in blockers])

    def finish(self, heads: Collection[str], **_: object) -> None:
        """Reports the end of a revision: a hook of Alembic (`on_version_apply`)."""
        self.heads = set(heads)
        self.finished.append(self.revision)
        ms = self.elapsed_ms()
        tries = f", {self._tries} tries" if self._tries > 1 else ""
        self._say(f"  done in {ms / 1000:.2f} s{tries}", "finished", ms=ms, tries=self._tries)

    def summarize(self, nothing: str) -> None:
        """Says on standard output what was done and where the database is.

        Args:
            nothing: What to say when no revision was run.
        """
        count, seconds = len(self.finished), time.monotonic() - self._created_at
        verb = "Applied" if self.direction == "upgrade" else "Rolled back"
        done = f"{verb} {count} revision{'' if count == 1 else 's'} in {seconds:.1f} s."
        if self.events:
            self._say("", "summary", ms=round(seconds * 1000), done=self.finished, place=self.place)
        else:
            print(done if count else nothing, self.place)

    def fail(self, message: str) -> None:
        """Reports the end of it all to a machine; people are told elsewhere."""
        if self.events:
            self._say("", "error", message=message)

    def _say(self, line: str, event: str, **values: Any) -> None:
        if self.events:
            line = json.dumps({"event": event, "revision": self.revision, **values})
            print(line, file=self.events, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)


@contextmanager
def stdout_for_events() -> Iterator[TextIO]:
    """The standard output; what else writes there, a revision or what it starts, is sent away.

    To standard error, so that a machine reads nothing but events.
    """
    sys.stdout.flush()
    number = sys.stdout.fileno()
    with os.fdopen(os.dup(number), "w", encoding="utf-8") as events:
        os.dup2(sys.stderr.fileno(), number)
        try:
            yield events
        finally:
            sys.stdout.flush()
            os.dup2(events.fileno(), number)


@contextmanager
def can_run_again(context: MigrationContext) -> Iterator[None]:
    """For a block whose commits don't keep the running revision from being run again.

    They do if something was changed before the block, which commits that.
    """
    progress: Any = context.config.attributes.get("progress") if context.config else None
    if progress is None or context.connection is None or context.as_sql:
        yield
        return
    is_changed = context.connection.scalar(text("SELECT pg_current_xact_id_if_assigned()"))
    is_lost = progress.is_partly_committed or is_changed is not None
    try:
        yield
    finally:
        progress.is_partly_committed = is_lost
