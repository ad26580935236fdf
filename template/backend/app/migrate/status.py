"""Where the database is in the history."""

from collections.abc import Collection, Mapping

from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from alembic.util import CommandError

from app.migrate.connection import connect
from app.migrate.development import in_development
from app.migrate.history import ancestors
from app.migrate.revision_file import Revision


def applied_revisions() -> tuple[str, ...]:
    """What the database says it is at; several only between diverged branches."""
    with connect() as connection:
        return MigrationContext.configure(connection).get_current_heads()


def applied_here(revisions: Mapping[str, Revision]) -> set[str]:
    """All revisions that the development database has applied, as far as there are files.

    Raises:
        CommandError: it can't be asked.
    """
    known = revisions.keys() & set(applied_revisions())
    return {name for head in known for name in ancestors(revisions, head)}


def pending_revisions(applied: tuple[str, ...], scripts: ScriptDirectory) -> list[Script]:
    """The revisions not applied yet, newest first."""
    refuse_unknown(applied, scripts)
    done = {
        script.revision
        for revision in applied
        for script in scripts.iterate_revisions(revision, "base")
    }
    return [script for script in scripts.walk_revisions() if script.revision not in done]


def refuse_unknown(applied: tuple[str, ...], scripts: ScriptDirectory) -> None:
    """Refuses a database that is at a revision without a file.

    Raises:
        CommandError: names the revision and the ways on.
    """
    files = {script.revision: script.module for script in scripts.walk_revisions()}
    unknown = [revision for revision in applied if revision not in files]
    if unknown:
        squashed = {
            old: new for new, module in files.items() for old in getattr(module, "replaces", {})
        }
        raise CommandError(explain_unknown(unknown, squashed))


def explain_unknown(unknown: Collection[str], squashed: Mapping[str, str]) -> str:
    """What it means that the database is at revisions without a file, and the ways on.

    Args:
        squashed: The revisions that were squashed, and into which one.
    """
    names = ", ".join(unknown)
    into = {squashed[revision] for revision in unknown if revision in squashed}
    if into:
        return (
            f"The database is at revision {names}, which was squashed into {', '.join(into)} "
            "together with later ones that it lacks: it can't be upgraded from here. Deploy the "
            "release from before the squash first, then this one."
            + in_development(
                " A development database can start over without the rows: just db-reset"
            )
        )
    return (
        f"The database is at revision {names}, which has no file in "
        "backend/alembic/versions. It is on another branch or was deleted: get it from git"
        + in_development(", or start over without the rows: just db-reset")
    )


def describe_place(applied: tuple[str, ...], scripts: ScriptDirectory) -> str:
    """Where the database is, in a sentence."""
    if not applied:
        return "The database is at base: no revision is applied."
    refuse_unknown(applied, scripts)
    names = [
        f"{script.revision} ({script.doc})" for script in scripts.get_revisions(applied) if script
    ]
    head = ", the newest" if set(applied) == set(scripts.get_heads()) else ""
    return f"The database is at {' and '.join(names)}{head}."
