"""How far a backfill is: a row in the database, written in the transaction of each batch."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Integer,
    MetaData,
    Row,
    Table,
    Text,
    delete,
    func,
    insert,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import OperationalError

from app.migrate.ledger import TABLE_NAME as LEDGER
from app.migrate.ledger import ledger

TABLE_NAME = "migration_backfills"

checkpoints = Table(
    TABLE_NAME,
    MetaData(),
    Column("backfill", Text, nullable=False),
    # The newest move in the ledger. After another one, a downgrade for example, the rows that were
    # done may be gone or emptied again.
    Column("moved", BigInteger, nullable=False),
    Column("pass", Integer, nullable=False, server_default="1", key="pass_number"),
    Column("last_key", ARRAY(Text)),
    Column("rows_read", BigInteger, nullable=False, server_default="0"),
    Column("rows_still_matching", BigInteger, nullable=False, server_default="0"),
)


def is_started(connection: Connection) -> bool:
    """Whether some backfill was stopped in the middle."""
    return inspect(connection).has_table(TABLE_NAME)


def begin(connection: Connection, backfill: str) -> Row[Any]:
    """Where to go on: where the same backfill was stopped, or else at the beginning."""
    checkpoints.create(connection, checkfirst=True)
    moved = 0
    if inspect(connection).has_table(LEDGER):
        moves = ("upgrade", "downgrade", "stamp", "unstamp")
        newest = select(func.max(ledger.c.id)).where(ledger.c.action.in_(moves))
        moved = connection.scalar(newest) or 0
    mine = (checkpoints.c.backfill == backfill) & (checkpoints.c.moved == moved)
    connection.execute(delete(checkpoints).where(~mine))
    found = connection.execute(select(checkpoints)).one_or_none()
    if found is None:
        connection.execute(insert(checkpoints).values(backfill=backfill, moved=moved))
    return read(connection)


def read(connection: Connection) -> Row[Any]:
    """Where the backfill is. Locked: what a killed run still has open ends before the next batch."""
    return connection.execute(select(checkpoints).with_for_update()).one()


def write(connection: Connection, **values: Any) -> None:
    connection.execute(update(checkpoints).values(**values))


def remove(connection: Connection) -> None:
    """Forgets the backfill, in the transaction that records its revision as applied."""
    try:
        with connection.begin_nested():
            connection.execute(text(f"DROP TABLE IF EXISTS {TABLE_NAME}"))
    except OperationalError:  # it is being read, by pg_dump for example
        connection.execute(delete(checkpoints))
