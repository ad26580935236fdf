"""Takes the history down and up again on a copy of the shadow database.

Building the shadow database was the first way up. What came out is remembered with it, and after
new revisions these alone are tried.
"""

import hashlib
from collections.abc import Callable, Collection, Mapping
from contextlib import redirect_stderr
from io import StringIO

from alembic import command

from app.core.config import Settings, get_settings
from app.migrate.config import alembic_config
from app.migrate.databases import connect_to_server, drop_database
from app.migrate.drift import differences
from app.migrate.dump import Schema, read_schema
from app.migrate.errors import FailedRevisionError
from app.migrate.history import ancestors
from app.migrate.report import Finding, Outcome, failed, passed
from app.migrate.revision_file import Revision
from app.migrate.shadow import (
    REPLAYED,
    itself,
    remember,
    remembered,
    shadow_database,
    temporary_database,
)
from app.migrate.shadow_server import makes_roles
from app.migrate.undoing import Place, States, not_undone, noted

MAX_SHOWN = 20
# Of those that the base branch has, and that nobody can change any more, the newest are tried alone.
MAX_SHARED = 100
FIX = (
    "Correct its upgrade() or downgrade(). If there is no way back from it, say so in the file, "
    'beside down_revision: irreversible = "the reason"'
)
LEFT = "Drop it in downgrade() of the revision that creates it."
UNDO = "Let each downgrade() undo what upgrade() of its revision does."


def replay_history(
    revisions: Mapping[str, Revision], head: str, unshared: Collection[str] = ()
) -> Outcome:
    """Downgrades from the head as far as there is a way back, and upgrades again.

    Args:
        unshared: The revisions that the base branch does not have.

    Raises:
        CommandError: the history can't be applied, or there is no database to try it on.
    """
    with shadow_database(get_settings()) as shadow, connect_to_server(shadow) as server:
        known = remembered(server, shadow.postgres_db)
        if "replay" in known:
            return passed(f"{known['replay']}; unchanged since")
        last = floor(revisions, head)
        tried, _, digest = known.get(REPLAYED, "").partition(" ")
        stop = last.revision if last else ""
        if tried in revisions and tried not in (
            ancestors(revisions, stop) - {stop} if stop else ()
        ):
            stop = tried
        way = Way(shadow, revisions, head, stop, MAX_SHARED + len(unshared))
        outcome = way.outcome(digest if stop == tried else "")
        if outcome.outcome == "passed":
            if last:
                detail = f"down to {last.revision} and up again; it has no way back: "
                outcome = passed(detail + last.irreversible)
            replayed = f"{head} {checksum_of(way.down.found[way.top])}"
            found = {"replay": outcome.detail, REPLAYED: replayed}
            remember(server, shadow.postgres_db, {**known, **found})
        elif makes_roles():
            drop_database(server, shadow.postgres_db)  # it is not at the newest revision any more
        return outcome


def floor(revisions: Mapping[str, Revision], head: str) -> Revision | None:
    """The newest revision without a way back, or what is above it where branches were merged."""
    name = head
    while name and not revisions[name].irreversible:
        parents = revisions[name].parents
        if len(parents) > 1:
            before = ancestors(revisions, name)
            return revisions[name] if any(revisions[n].irreversible for n in before) else None
        name = next(iter(parents), "")
    return revisions[name] if name else None


class Way:
    """The way down to a revision and up again.

    Args:
        stop: The revision; empty for base.
        limit: How many revisions are tried alone, from the newest.
    """

    def __init__(
        self, shadow: Settings, revisions: Mapping[str, Revision], head: str, stop: str, limit: int
    ) -> None:
        self.shadow, self.revisions, self.stop = shadow, revisions, stop
        self.top: Place = frozenset(ancestors(revisions, head))
        self.bottom: Place = frozenset(ancestors(revisions, stop) if stop else ())
        self.down = States(self.top, limit)

    def outcome(self, checksum: str) -> Outcome:
        """Goes it.

        Args:
            checksum: Of the schema at `stop`, if it is known.
        """
        truth: dict[Place, Schema] = {}
        if not self.stop:
            with temporary_database(self.shadow, "copy") as empty:
                truth[self.bottom] = read_schema(empty)
        # A role can't be dropped while another database knows it.
        place = (
            itself(self.shadow)
            if makes_roles()
            else temporary_database(self.shadow, "copy", template=self.shadow.postgres_db)
        )
        with place as copy:
            up = States(self.bottom, limit=len(self.top), wanted=self.down.found)
            try:
                with noted(self.down, copy):
                    run_quietly(command.downgrade, copy, self.stop or "base")
                reached = read_schema(copy)
                if not self.stop and (left := sorted(reached.keys() - truth[self.bottom].keys())):
                    still = [f"At base there still is: {thing}" for thing in left[:MAX_SHOWN]]
                    findings = [Finding(thing, LEFT) for thing in still]
                    return failed(
                        "the way down leaves something behind", self._with_cause(findings)
                    )
                with noted(up, copy):
                    run_quietly(command.upgrade, copy, "head")
            except FailedRevisionError as error:
                findings = [Finding(error.reason, FIX)]
                title = "not every revision goes down and up again"
                return failed(title, self._with_cause(findings))
            found = differences(read_schema(copy), self.down.found[self.top])
        if found:
            shown = "\n".join(map(str, found[:MAX_SHOWN]))
            message = f"Down and up again, the schema is not what it was (+):\n{shown}"
            findings = self._with_cause([Finding(message, UNDO)])
            return failed("the way down does not undo the way up", findings)
        if self.stop and checksum != checksum_of(reached):
            truth |= self._truth(self.stop, {self.bottom: reached})
        self.down.found[self.bottom] = reached
        findings = not_undone(self.down.found, up.found | truth, self.revisions)
        if findings:
            return failed("a downgrade() does not undo its upgrade()", findings)
        return passed("every revision goes down and up again")

    def _with_cause(self, findings: list[Finding]) -> list[Finding]:
        """What went wrong, and the first revision that it may come from."""
        truth = self._truth("head", self.down.found)
        return [*findings, *not_undone(self.down.found, truth, self.revisions)]

    def _truth(self, target: str, wanted: Collection[Place]) -> dict[Place, Schema]:
        """The schemas that upgrades alone lead to; unknown where roles of the server are in the way."""
        if makes_roles():
            return {}
        with temporary_database(self.shadow, "fresh") as fresh:
            states = States(frozenset(), limit=len(self.top), wanted=wanted)
            with noted(states, fresh):
                run_quietly(command.upgrade, fresh, target)
        return states.found


def checksum_of(schema: Schema) -> str:
    return hashlib.sha256(repr(sorted(schema.items())).encode()).hexdigest()


def run_quietly(alembic: Callable[..., None], database: Settings, target: str) -> None:
    """Runs one of Alembic's commands without its progress."""
    config = alembic_config(alembic)
    config.attributes["settings"] = database
    with redirect_stderr(StringIO()):
        alembic(config, target)
