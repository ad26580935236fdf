"""Whether each revision's downgrade() leads back to what was there before its upgrade().

Beside a run of Alembic the schema is taken down before each step: what the steps before it did is
committed by then.
"""

import logging
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

from alembic.runtime.migration import RevisionStep

from app.core.config import Settings
from app.migrate.drift import Difference
from app.migrate.dump import Schema, read_schema
from app.migrate.report import Finding
from app.migrate.revision_file import Revision

ALEMBIC = logging.getLogger("alembic.runtime.migration")
MAX_SHOWN = 20
UNDO = (
    "Let downgrade() undo all that upgrade() does. If there is no way back, say so in the file, "
    'beside down_revision: irreversible = "the reason"'
)
# The revisions that are applied.
Place = frozenset[str]


class States(logging.Handler):
    """The schemas that a database goes through, by the revisions that are applied."""

    def __init__(self, applied: Place, limit: int, wanted: Collection[Place] | None = None) -> None:
        """Begins at a place.

        Args:
            limit: How many steps are looked at.
            wanted: The places to take down the schema of; all, unless told.
        """
        super().__init__(logging.INFO)
        self.applied, self.limit, self.wanted = applied, limit, wanted
        self.found: dict[Place, Schema] = {}
        self.database: Settings | None = None

    def emit(self, record: logging.LogRecord) -> None:
        step = record.args[0] if isinstance(record.args, tuple) and record.args else None
        if not isinstance(step, RevisionStep):
            return
        name = step.revision.revision
        if (name in self.applied) == step.is_upgrade:
            return  # once more, because a lock was not to be had
        self.note()
        self.applied ^= {name}

    def note(self) -> None:
        """Takes down the schema as it is now."""
        is_wanted = self.wanted is None or self.applied in self.wanted
        if self.database and is_wanted and len(self.found) <= self.limit:
            self.found[self.applied] = read_schema(self.database)


@contextmanager
def noted(states: States, database: Settings) -> Iterator[None]:
    """Takes down a database's schema before and after each step that Alembic makes in the block."""
    states.database = database
    ALEMBIC.addHandler(states)
    ALEMBIC.setLevel(logging.INFO)
    try:
        yield
        states.note()
    finally:
        ALEMBIC.removeHandler(states)


def not_undone(
    down: Mapping[Place, Schema], up: Mapping[Place, Schema], revisions: Mapping[str, Revision]
) -> list[Finding]:
    """The newest revision after whose downgrade() something is not as it was before it.

    What comes after that on the way down may only be its consequence.
    """
    newer: Place = frozenset()
    for place in sorted(down.keys() & up.keys(), key=len, reverse=True):
        unequal = _unequal(down[place], up[place])
        if unequal and newer:
            names = sorted(newer - place)
            files = " and ".join(f"{name} ({revisions[name].path.name})" for name in names)
            shown = "\n".join(map(str, unequal[:MAX_SHOWN]))
            message = (
                f"The downgrade() of revision {files} does not lead back to what was there before "
                f"(+):\n{shown}"
            )
            return [Finding(message, UNDO)]
        newer = place
    return []


def _unequal(left: Schema, right: Schema) -> list[Difference]:
    return [
        Difference(name, left.get(name), right.get(name))
        for name in sorted(left.keys() | right.keys())
        if left.get(name) != right.get(name)
    ]
