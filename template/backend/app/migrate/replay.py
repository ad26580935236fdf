"""Takes the history down and up again on a copy of the shadow database.

Building the shadow database was the first way up. What came out is remembered with it.
"""

from collections.abc import Callable, Mapping
from contextlib import redirect_stderr
from io import StringIO

from alembic import command

from app.core.config import Settings, get_settings
from app.migrate.config import alembic_config
from app.migrate.databases import connect_to_server
from app.migrate.drift import differences
from app.migrate.dump import Schema, read_schema
from app.migrate.errors import FailedRevisionError
from app.migrate.report import Finding, Outcome, failed, passed
from app.migrate.revision_file import Revision
from app.migrate.shadow import remember, remembered, shadow_database, temporary_database

MAX_SHOWN = 20
FIX = (
    "Correct its upgrade() or downgrade(). If there is no way back from it, say so in the file, "
    'beside down_revision: irreversible = "the reason"'
)
LEFT = "Drop it in downgrade() of the revision that creates it."
UNDO = "Let each downgrade() undo what upgrade() of its revision does."


def replay_history(revisions: Mapping[str, Revision], head: str) -> Outcome:
    """Downgrades from the head as far as there is a way back, and upgrades again.

    Raises:
        CommandError: the history can't be applied, or there is no database to try it on.
    """
    with shadow_database(get_settings()) as shadow, connect_to_server(shadow) as server:
        known = remembered(server, shadow.postgres_db)
        if "replay" in known:
            return passed(f"{known['replay']}; unchanged since")
        with temporary_database(shadow, "copy") as empty:
            nothing = read_schema(empty)
        with temporary_database(shadow, "copy", template=shadow.postgres_db) as copy:
            outcome = _go_down_and_up(copy, floor(revisions, head), nothing)
        if outcome.outcome == "passed":
            remember(server, shadow.postgres_db, {**known, "replay": outcome.detail})
        return outcome


def floor(revisions: Mapping[str, Revision], head: str) -> Revision | None:
    """The newest revision without a way back."""
    name = head
    while name and not revisions[name].irreversible:
        name = next(iter(revisions[name].parents), "")
    return revisions[name] if name else None


def _go_down_and_up(copy: Settings, last: Revision | None, nothing: Schema) -> Outcome:
    before = read_schema(copy)
    try:
        run_quietly(command.downgrade, copy, last.revision if last else "base")
        left = [] if last else sorted(read_schema(copy).keys() - nothing.keys())
        if left:
            return failed(
                "the way down leaves something behind",
                [Finding(f"At base there still is: {thing}", LEFT) for thing in left[:MAX_SHOWN]],
            )
        run_quietly(command.upgrade, copy, "head")
    except FailedRevisionError as error:
        return failed("not every revision goes down and up again", [Finding(error.reason, FIX)])
    found = differences(read_schema(copy), before)
    if found:
        shown = "\n".join(map(str, found[:MAX_SHOWN]))
        message = f"Down and up again, the schema is not what it was (+):\n{shown}"
        return failed("the way down does not undo the way up", [Finding(message, UNDO)])
    if last:
        return passed(
            f"down to {last.revision} and up again; it has no way back: {last.irreversible}"
        )
    return passed("every revision goes down and up again")


def run_quietly(alembic: Callable[..., None], database: Settings, target: str) -> None:
    """Runs one of Alembic's commands without its progress."""
    config = alembic_config(alembic)
    config.attributes["settings"] = database
    with redirect_stderr(StringIO()):
        alembic(config, target)
