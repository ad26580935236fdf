"""Keeps revisions that were refused away from databases with rows, until they are answered.

An empty database has nothing to lose: there they run, so that CI and new databases get through. So
they do on the databases that our own commands make to try revisions on.
"""

from pathlib import Path
from typing import Any

from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from app.migrate.config import running_command
from app.migrate.dump import OWN_TABLES
from app.migrate.history import read_revision
from app.migrate.refusal import describe_refusal, explain_refusals, open_refusals
from app.migrate.revision_file import FILL_IN, Revision

# Tables of users; those of an extension come with it.
TABLES = """
    SELECT c.oid::regclass::text FROM pg_class c
    WHERE c.relkind = 'r' AND c.relname <> ALL (:own) AND c.relpersistence <> 't'
    AND c.relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
    AND NOT EXISTS (
        SELECT FROM pg_depend d
        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
    )
    ORDER BY c.relpages = 0, 1
"""


def withhold_refused(context: Any, connection: Connection) -> dict[str, str]:
    """Refuses an upgrade through revisions that were refused, before any of it runs.

    Returns what the ledger is to say of those that were accepted with `--accept` just now.

    Args:
        context: Alembic's `context` while env.py runs.

    Raises:
        CommandError: names the revisions, what is wrong with each, and the ways on.
    """
    if running_command(context.config) != "upgrade" or "settings" in context.config.attributes:
        return {}
    refused = [r for r in _pending(context, connection) if describe_refusal(r)]
    reason = context.config.attributes.get("accept")
    if refused and reason is None and (table := first_table_with_rows(connection)):
        raise CommandError(_explain(refused, table))
    return {r.revision: _note(r, reason) for r in refused if reason}


def first_table_with_rows(connection: Connection) -> str:
    """A table of the database that has rows, or may have: it can't be looked into. Empty if none."""
    with connection.begin():
        tables = connection.execute(text(TABLES), {"own": list(OWN_TABLES)}).scalars().all()
    for table in tables:
        try:
            with connection.begin():
                found = connection.exec_driver_sql(f"SELECT FROM {table} LIMIT 1")
                if found.first() is not None:
                    return str(table)
        except DBAPIError:  # no right to read it, or somebody changes it just now
            return str(table)
    return ""


def _pending(context: Any, connection: Connection) -> list[Revision]:
    """What the upgrade would run and may have been refused, in order."""
    with connection.begin():
        heads = MigrationContext.configure(connection).get_current_heads()
    try:
        target = context.get_revision_argument()
        scripts = list(context.script.iterate_revisions(target, heads, implicit_base=True))
    except Exception:
        return []  # Alembic's own attempt follows, and is explained
    paths = [Path(script.path) for script in reversed(scripts)]
    return [read_revision(path) for path in paths if _may_be_refused(path.read_bytes())]


def _may_be_refused(source: bytes) -> bool:
    """Whether it is worth parsing: a history has hundreds of files."""
    return b"refused" in source or FILL_IN.encode() in source


def _explain(refused: list[Revision], table: str) -> str:
    lines = [f"Nothing was run: just db-migrate refused this, and there are rows ({table})."]
    lines += explain_refusals(refused)
    if any(map(open_refusals, refused)):
        lines.append(
            "Only in an emergency: just db-upgrade --accept REASON. The ledger keeps the reason."
        )
    return "\n".join(lines)


def _note(revision: Revision, reason: str) -> str:
    rules = ", ".join(open_refusals(revision)) or "what is to be filled in"
    return f"accepted {rules}: {reason}"
