"""Tells without Alembic, SQLAlchemy and pydantic whether there is anything to upgrade.

Importing these takes most of the time of an upgrade that has nothing to do, and a deployment runs
one at each start. When in doubt the answer is that there may be something.
"""

import ast
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from app.core.files import (
    BACKEND_DIR,
    PROJECT_DIR,
    SECRETS_DIRS,
    ConfigurationError,
    read_secret,
    tls_parameters,
)
from app.migrate.ancestry import describe_ahead, newest, reachable, revisions_ahead
from app.migrate.revision_file import LATEST, checksum, parse_revision, revision_files

CONFIG = BACKEND_DIR / "app" / "core" / "config.py"
CONNECT_TIMEOUT_S = 10
# The newest row of each revision; what is undone is not applied.
APPLIED = """
    SELECT revision, parent, checksum, action FROM (
        SELECT DISTINCT ON (revision) * FROM migration_ledger ORDER BY revision, id DESC
    ) AS newest WHERE action NOT IN ('downgrade', 'unstamp')
"""


def where_it_is() -> str | None:
    """Where the database is, if all files are applied as they are.

    None means that this can't be told or is not so.
    """
    with suppress(psycopg.Error, ConfigurationError, SyntaxError, ValueError, KeyError, OSError):
        address = make_conninfo(**read_address(), connect_timeout=CONNECT_TIMEOUT_S)
        with psycopg.connect(address, autocommit=True) as connection:
            heads = [name for (name,) in connection.execute("SELECT * FROM alembic_version")]
            rows = {row[0]: row for row in connection.execute(APPLIED)} if len(heads) == 1 else {}
        if rows:
            return _ahead_of_files(heads[0], rows) or _at_newest_of_files(heads[0], rows)
    return None


def say_nothing_to_apply(place: str, as_json: bool) -> None:
    """Says what the long way says when there is nothing to do."""
    if as_json:
        print(json.dumps({"event": "summary", "revision": "", "done": [], "place": place}))
    else:
        print("Nothing to apply.", place)


def read_address() -> dict[str, str]:
    """The database's address for migrations, as Settings.for_migrations() has it.

    Raises:
        ConfigurationError: the password's file can't be used.
        KeyError, ValueError: it is not as simple as that.
    """
    values = {**_defaults(), **_environment()}
    address = {
        "host": values.get("postgres_migration_host") or values["postgres_host"],
        "port": values.get("postgres_migration_port") or values["postgres_port"],
        "user": values["postgres_user"],
        "dbname": values["postgres_db"],
        "password": values.get("postgres_password") or _secret("postgres_password"),
        **tls_parameters(values),
    }
    # libpq takes from these what a connection leaves open.
    if any(os.environ.get(name) for name in ("PGHOSTADDR", "PGOPTIONS", "PGSERVICE")):
        raise ValueError("libpq has settings of its own")
    return address


def _defaults() -> dict[str, str]:
    """The defaults that the class Settings gives its fields."""
    tree = ast.parse(CONFIG.read_bytes())
    (settings,) = (n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Settings")
    found = {}
    for node in settings.body:
        match node:
            case (
                ast.AnnAssign(target=ast.Name(id=name), value=ast.Constant(value=value))
                | ast.AnnAssign(
                    target=ast.Name(id=name),
                    value=ast.Call(
                        keywords=[ast.keyword(arg="default", value=ast.Constant(value=value)), *_]
                    ),
                )
            ):
                found[name] = "" if value is None else str(value)
    return found


def _environment() -> dict[str, str]:
    variables: dict[str, str | None] = {}
    if (PROJECT_DIR / ".env").exists():
        from dotenv import dotenv_values

        variables.update(dotenv_values(PROJECT_DIR / ".env", encoding="utf-8"))
    variables.update(os.environ)
    return {name.lower(): value for name, value in variables.items() if value}


def _secret(name: str) -> str:
    for folder in SECRETS_DIRS:
        for file_name in (name, f"{name}.txt"):
            with suppress(FileNotFoundError):
                return read_secret(folder / file_name)
    raise KeyError(name)


def _ahead_of_files(
    head: str, rows: Mapping[str, tuple[str, str | None, str | None, str]]
) -> str | None:
    """The same test as integrity.ahead_of_files() makes, where no file was edited or squashed."""
    names = {value: name for name, _, value, _ in rows.values() if value}
    files = [checksum(source) for _, source in _sources()]
    if not all(value in names for value in files):
        return None
    own = {names[value] for value in files}
    parents = {name: tuple(row[1].split(", ")) if row[1] else () for name, row in rows.items()}
    mine = newest(own, parents)
    if not own.issuperset(reachable(mine, parents)) or not rows.keys() >= {
        *reachable([head], parents)
    }:
        return None
    ahead = revisions_ahead([head], parents, own, LATEST.read_text("utf-8").strip())
    return describe_ahead(ahead, ", ".join(mine)) if ahead else None


def _at_newest_of_files(
    head: str, rows: Mapping[str, tuple[str, str | None, str | None, str]]
) -> str | None:
    """The same test as integrity.compare() makes, for the case that all is well."""
    applied: dict[str, str | None] = {}
    waiting = [head]
    while waiting:
        name = waiting.pop()
        _, parent, applied[name], _action = rows[name]
        waiting.extend(parent.split(", ") if parent else ())
    files = {checksum(source): (path, source) for path, source in _sources()}
    known = set(applied.values())
    unknown = [parse_revision(*files[value]) for value in files if value not in known]
    squashed = {
        (name, one)
        for revision in unknown
        for name, checksums in revision.replaces.items()
        for one in checksums.split()
    }
    # The ledger records once that a squash was found in place of what it applied.
    if any(r.revision not in applied or rows[r.revision][3] != "squash" for r in unknown):
        return None
    if any(v and v not in files and (n, v) not in squashed for n, v in applied.items()):
        return None
    named = {revision.revision: revision.path for revision in unknown}
    path = named[head] if head in named else files[applied[head] or ""][0]
    message = (ast.get_docstring(ast.parse(path.read_bytes())) or "").split("\n\n")[0]
    return f"The database is at {head} ({message}), the newest."


def _sources() -> list[tuple[Path, bytes]]:
    return [(path, path.read_bytes()) for path in revision_files()]
