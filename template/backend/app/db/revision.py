"""Which revision the code was written for and which one the database is at."""

from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.files import BACKEND_DIR


def expected_revisions() -> list[str]:
    """The newest revision among the files in alembic/versions; several before a merge."""
    return sorted(ScriptDirectory(BACKEND_DIR / "alembic").get_heads())


async def applied_revisions(connection: AsyncConnection) -> list[str]:
    """The revision that the database is at; none before the first upgrade."""
    if await connection.scalar(text("SELECT to_regclass('alembic_version')")) is None:
        return []
    rows = await connection.scalars(text("SELECT version_num FROM alembic_version"))
    return sorted(rows)
