"""Whether a migration can run on the server at all, asked before anything does."""

from alembic.util import CommandError
from sqlalchemy import Connection, text

from app.core.config import Settings
from app.migrate.ledger import TABLE_NAME as LEDGER
from app.migrate.ledger import VERSION_TABLE

ASK = """
    SELECT pg_is_in_recovery() AS is_standby, current_setting('transaction_read_only') AS read_only,
        quote_ident(current_user) AS role, quote_ident(current_schema()) AS schema,
        has_schema_privilege(current_schema(), 'CREATE') AS may_create
"""
MISSING = """
    SELECT relation, array(
        SELECT privilege FROM unnest(privileges) AS privilege
        WHERE NOT has_table_privilege(relation, privilege)
    ) AS privileges
    FROM (VALUES
        (to_regclass(:version), ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']),
        (to_regclass(:ledger), ARRAY['SELECT', 'INSERT'])
    ) AS needed (relation, privileges)
"""


def refuse_unable(connection: Connection, settings: Settings) -> None:
    """Refuses a server that takes no changes, and a role that may not make or fill our tables.

    Raises:
        CommandError: says which, and what to do about it.
    """
    server = connection.execute(text(ASK)).one()
    tables = connection.execute(text(MISSING), {"version": VERSION_TABLE, "ledger": LEDGER}).all()
    connection.rollback()
    address = f"{settings.postgres_host}:{settings.postgres_port}"
    if server.is_standby:
        raise CommandError(
            f"Nothing was run: the server on {address} is a standby, which only repeats what its "
            "primary does. Name the primary's address for migrations: POSTGRES_MIGRATION_HOST "
            "and POSTGRES_MIGRATION_PORT."
        )
    if server.read_only == "on":
        raise CommandError(
            f"Nothing was run: {settings.postgres_db} on {address} is read-only for the role "
            f"{server.role}, by default_transaction_read_only. Set it off for this role: "
            f"ALTER ROLE {server.role} SET default_transaction_read_only = off"
        )
    if server.schema is None:
        raise CommandError(
            f"Nothing was run: the role {server.role} can use no schema of its search_path. "
            f"Let it, for example with: GRANT USAGE, CREATE ON SCHEMA public TO {server.role}"
        )
    grants = [
        f"GRANT {', '.join(privileges)} ON {relation} TO {server.role}"
        for relation, privileges in tables
        if relation and privileges
    ]
    if not server.may_create and not all(relation for relation, _ in tables):
        grants.append(f"GRANT CREATE ON SCHEMA {server.schema} TO {server.role}")
    if grants:
        raise CommandError(
            f"Nothing was run: the role {server.role} lacks privileges in {settings.postgres_db} "
            f"on {address}. The tables' owner, or an administrator, grants them with:\n"
            + "\n".join(f"    {grant}" for grant in grants)
        )
