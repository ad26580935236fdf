"""Changes of tables in use, for revisions: no step blocks reading and writing for long.

Each statement is a transaction of its own, so a revision that calls one of these does nothing else.
Run again after an interruption, they go on where they were. The rules are those of PostgreSQL's
manual at CREATE INDEX ("Building Indexes Concurrently") and ALTER TABLE ("Notes").
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from alembic import op
from alembic.util import CommandError
from psycopg.sql import Identifier
from sqlalchemy import Row, text
from sqlalchemy.exc import DataError, IntegrityError, PendingRollbackError, SQLAlchemyError

from app.migrate.drift import escaped
from app.migrate.progress import can_run_again

EMPTY_COPY = "empty_copy_to_compare"
MAX_NAME_BYTES = 63


def create_index_concurrently(
    name: str, table: str, definition: str, *, unique: bool = False, schema: str | None = None
) -> None:
    """Builds an index; one that an interruption left INVALID is dropped first.

    Args:
        definition: What follows the table in CREATE INDEX, such as "(email) WHERE is_active".

    Raises:
        CommandError: rows are not unique, or another index has that name.
    """
    target = _quoted(table, schema)
    create = "CREATE UNIQUE INDEX" if unique else "CREATE INDEX"
    found = _read(
        "SELECT indisvalid, pg_get_indexdef(indexrelid) AS definition FROM pg_index"
        " WHERE indexrelid = to_regclass(:name)",
        name=_quoted(name, schema),
    )
    if found and found.indisvalid:
        wanted = _on_an_empty_copy(
            target,
            f"{create} ON {EMPTY_COPY} {definition}",
            "SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = to_regclass(:copy)",
        )
        _refuse_another(name, table, _without_names(found.definition), _without_names(wanted))
        return
    with _without_timeouts():
        if found:
            _execute(f"DROP INDEX CONCURRENTLY {_quoted(name, schema)}")
        try:
            _execute(
                f"{create.removesuffix('INDEX')}INDEX CONCURRENTLY {_quoted(name)}"
                f" ON {target} {definition}"
            )
        except IntegrityError as error:
            _execute(f"DROP INDEX CONCURRENTLY IF EXISTS {_quoted(name, schema)}")
            raise CommandError(
                f"{table} has rows that are not unique as {name} wants them: {_detail(error)} "
                "Nothing was changed. Correct those rows, then run: just db-upgrade"
            ) from None


def drop_index_concurrently(name: str, *, schema: str | None = None) -> None:
    """Drops an index, if it is there."""
    with _without_timeouts():
        _execute(f"DROP INDEX CONCURRENTLY IF EXISTS {_quoted(name, schema)}")


def create_unique_constraint(
    name: str, table: str, definition: str, *, deferrable: str = "", schema: str | None = None
) -> None:
    """Builds a unique index, then makes it the constraint's.

    Args:
        definition: The index's, such as "(email) NULLS NOT DISTINCT".
        deferrable: For example "DEFERRABLE INITIALLY DEFERRED".

    Raises:
        CommandError: rows are not unique, or another index has that name.
    """
    create_index_concurrently(name, table, definition, unique=True, schema=schema)
    if not _read_constraint(name, table, schema):
        with _outside_the_transaction():
            _execute(
                f"ALTER TABLE {_quoted(table, schema)} ADD CONSTRAINT {_quoted(name)}"
                f" UNIQUE USING INDEX {_quoted(name)} {deferrable}".rstrip()
            )


def create_foreign_key(
    name: str, table: str, definition: str, *, schema: str | None = None
) -> None:
    """Adds a foreign key for new rows, then checks the rows that are there.

    Args:
        definition: For example "(user_id) REFERENCES users(id) ON DELETE CASCADE".

    Raises:
        CommandError: a row refers to nothing, or another constraint has that name.
    """
    _add_constraint(name, table, f"FOREIGN KEY {definition}", schema)


def create_check_constraint(
    name: str, table: str, condition: str, *, schema: str | None = None
) -> None:
    """Adds a CHECK for new rows, then checks the rows that are there.

    Raises:
        CommandError: a row does not meet the condition, or another constraint has that name.
    """
    _add_constraint(name, table, f"CHECK ({condition})", schema)


def set_not_null(table: str, column: str, *, schema: str | None = None) -> None:
    """Sets NOT NULL after a CHECK has proved it: then PostgreSQL reads no rows under its lock.

    Raises:
        CommandError: a row has no value there.
    """
    target, quoted = _quoted(table, schema), _quoted(column)
    check = f"{column}_is_not_null".encode()[-MAX_NAME_BYTES:].decode(errors="ignore")
    found = _read(
        "SELECT attnotnull FROM pg_attribute"
        " WHERE attrelid = to_regclass(:table) AND attname = CAST(:column AS name)",
        table=target,
        column=column,
    )
    if not (found and found.attnotnull):
        _add_constraint(check, table, f"CHECK ({quoted} IS NOT NULL)", schema)
    with _outside_the_transaction():
        if not (found and found.attnotnull):
            _execute(f"ALTER TABLE {target} ALTER COLUMN {quoted} SET NOT NULL")
        _execute(f"ALTER TABLE {target} DROP CONSTRAINT IF EXISTS {_quoted(check)}")


def refuse_rows(table: str, condition: str, reason: str, *, schema: str | None = None) -> None:
    """Stops a revision that would lose values, as long as there are rows that have such values.

    Args:
        condition: What a row meets that can't be kept, in SQL.
        reason: What would become of it.

    Raises:
        CommandError: there is such a row; tells how to find them all.
    """
    context, target = op.get_context(), _quoted(table, schema)
    if context.as_sql:
        message = reason.replace("%", "%%").replace("'", "''")
        _execute(
            f"DO $do$ BEGIN IF EXISTS (SELECT FROM {target} WHERE {condition}) "
            f"THEN RAISE EXCEPTION '{message}'; END IF; END $do$"
        )
        return
    _execute(f"LOCK TABLE {target}")  # against rows that come meanwhile
    select = f"SELECT count(*) FROM {target} WHERE {condition}"  # noqa: S608
    try:
        with op.get_bind().begin_nested():
            count = op.get_bind().execute(text(escaped(select))).scalar_one()
        found = f"{count} row{'' if count == 1 else 's'} of {table}"
    except DataError as error:
        count, found = 1, f"Rows of {table} ({str(error.orig).strip()})"
    if count:
        raise CommandError(
            f"Not done because of {found}: {reason}. Nothing was changed by this revision. They are "
            f"counted by:\n    {select}\n"
            "Change or delete them, or go forward with a new revision instead: just db-migrate"
        )


def set_not_null_if_filled(table: str, column: str, *, schema: str | None = None) -> None:
    """Sets NOT NULL, unless rows have no value: a dropped column came back without its values."""
    target, quoted = _quoted(table, schema), _quoted(column)
    rows = f"SELECT FROM {target} WHERE {quoted} IS NULL"
    found = _read(f"SELECT EXISTS ({rows}) AS lacks")
    if found and found.lacks:
        stays = f"{table}.{column} stays without NOT NULL"
        print(f"  {stays}: there are rows, and their values are gone.", file=sys.stderr)
        return
    _execute(f"ALTER TABLE {target} ALTER COLUMN {quoted} SET NOT NULL")


def _add_constraint(name: str, table: str, definition: str, schema: str | None) -> None:
    target = _quoted(table, schema)
    found = _read_constraint(name, table, schema)
    if found:
        wanted = _on_an_empty_copy(
            target,
            f"ALTER TABLE {EMPTY_COPY} ADD {definition}",
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE conrelid = to_regclass(:copy) AND contype <> 'n'",
        )
        _refuse_another(name, table, found.definition.removesuffix(" NOT VALID"), wanted)
        if found.convalidated:
            return
    else:
        with _outside_the_transaction():
            _execute(f"ALTER TABLE {target} ADD CONSTRAINT {_quoted(name)} {definition} NOT VALID")
    try:
        with _without_timeouts():
            _execute(f"ALTER TABLE {target} VALIDATE CONSTRAINT {_quoted(name)}")
    except IntegrityError as error:
        with _outside_the_transaction():
            _execute(f"ALTER TABLE {target} DROP CONSTRAINT {_quoted(name)}")
        raise CommandError(
            f"{table} has rows that {name} does not allow: {_detail(error) or f'{definition}.'} "
            "Nothing was changed. Correct those rows, then run: just db-upgrade"
        ) from None


@contextmanager
def _outside_the_transaction() -> Iterator[None]:
    """Each statement is a transaction of its own."""
    context = op.get_context()
    try:
        with can_run_again(context), context.autocommit_block():
            yield
    except PendingRollbackError as error:
        # Alembic can't leave the block when the connection is lost, which is what is to be told.
        raise (error.__context__ or error) from None


@contextmanager
def _without_timeouts() -> Iterator[None]:
    """For what blocks neither reading nor writing, waiting included.

    A timeout would cancel a concurrent build, which then leaves an INVALID index.
    """
    timeouts = ("lock_timeout", "statement_timeout")
    with _outside_the_transaction():
        for timeout in timeouts:
            _execute(f"SET {timeout} = 0")
        try:
            yield
        finally:
            with suppress(SQLAlchemyError):  # a lost connection has none to go back to
                for timeout in timeouts:
                    _execute(f"RESET {timeout}")


def _read_constraint(name: str, table: str, schema: str | None) -> Row[Any] | None:
    return _read(
        "SELECT convalidated, pg_get_constraintdef(oid) AS definition FROM pg_constraint"
        " WHERE conrelid = to_regclass(:table) AND conname = CAST(:name AS name)",
        table=_quoted(table, schema),
        name=name,
    )


def _on_an_empty_copy(target: str, statement: str, query: str) -> str:
    """What a statement makes, as PostgreSQL prints it, tried on a copy that nobody ever sees."""
    connection = op.get_bind()
    with connection.begin_nested() as savepoint:
        _execute(f"CREATE TABLE {EMPTY_COPY} (LIKE {target})")
        _execute(statement)
        made = str(connection.execute(text(query), {"copy": EMPTY_COPY}).scalar_one())
        savepoint.rollback()
    return made


def _refuse_another(name: str, table: str, found: str, wanted: str) -> None:
    if found != wanted:
        raise CommandError(
            f"{table} has another {name} than the revision makes. It is: {found}\n"
            f"The revision's: {wanted}\nRename or drop it if nothing needs it, then run: "
            "just db-upgrade"
        )


def _without_names(definition: str) -> str:
    """An index's definition without its name and its table."""
    beginning, _, rest = definition.partition(" USING ")
    return f"{'UNIQUE ' if beginning.startswith('CREATE UNIQUE ') else ''}USING {rest}"


def _detail(error: IntegrityError) -> str:
    """What PostgreSQL tells of the row, if anything."""
    return getattr(getattr(error.orig, "diag", None), "message_detail", None) or ""


def _read(query: str, **values: str) -> Row[Any] | None:
    """The row that a query finds; None while SQL is only printed."""
    if op.get_context().as_sql:
        return None
    return op.get_bind().execute(text(query), values).one_or_none()


def _execute(statement: str) -> None:
    op.execute(escaped(statement))


def _quoted(name: str, schema: str | None = None) -> str:
    return Identifier(*(part for part in (schema, name) if part)).as_string()
