"""`just db-squash`: one first revision in place of the history so far.

It takes the revision of the newest that it stands for, so that a database at that one or past it
has nothing to run.
"""

import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import unified_diff
from pathlib import Path

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

from app.core.config import Settings, get_settings
from app.core.files import BACKEND_DIR
from app.migrate.ancestry import reachable
from app.migrate.baseline import dumped_statements, read_baseline, render_revision
from app.migrate.connection import connect
from app.migrate.dump import in_one_form
from app.migrate.git import not_in_head
from app.migrate.history import ancestors, heads, read_revisions, refuse_several_heads
from app.migrate.integrity import parents_of
from app.migrate.revision_file import VERSIONS, Revision, checksum
from app.migrate.shadow import shadow_database, temporary_database

SHOWN_LINES = 30


@dataclass(frozen=True)
class Squash:
    """Which files one new file is to stand for."""

    target: str
    is_newest: bool
    files: list[Path]
    replaces: dict[str, str]


def squash_history(target: str) -> tuple[Path, int]:
    """Replaces the files up to a revision, the newest if empty; returns the new one, and how many.

    Raises:
        CommandError: the history can't be squashed there; every file is as it was.
    """
    plan = plan_squash(read_revisions(), target)
    _refuse_uncommitted(plan.files)
    now = datetime.now(UTC)
    with shadow_database(get_settings()) as shadow, _history_until(plan, shadow) as old:
        source = render_revision(plan.target, plan.replaces, read_baseline(old), now)
        _refuse_difference(source, old)
    path = VERSIONS / f"{now:%Y-%m-%d}_squashed_{plan.target}.py"
    whole = path.with_suffix(".new")
    whole.write_bytes(source.encode())
    for file in plan.files:
        file.unlink()
    whole.rename(path)
    return path, len(plan.files)


def plan_squash(revisions: Mapping[str, Revision], target: str) -> Squash:
    """What is to be squashed.

    Raises:
        CommandError: there is no such revision, nothing before it, or something beside it.
    """
    revisions = dict(revisions)
    refuse_several_heads(revisions)
    newest = heads(revisions)
    if not newest:
        raise CommandError("There are no revisions yet. Write the first one with: just db-migrate")
    roots = [revision.path.name for revision in revisions.values() if not revision.parents]
    if len(roots) > 1:
        raise CommandError(
            f"The history has {len(roots)} first revisions: {', '.join(roots)}. Give all but the "
            "oldest a down_revision by hand."
        )
    target = target or newest[0]
    names = ancestors(revisions, target)
    if len(names) == 1:
        raise CommandError(f"Nothing to squash: {target} is the first revision.")
    for name, revision in revisions.items():
        cut = sorted(names.intersection(revision.parents) - {target})
        if name not in names and cut:
            raise CommandError(
                f"{revision.path.name} follows {', '.join(cut)}, which would be squashed into "
                f"{target}. Squash up to a revision that all later ones come after."
            )
    in_order = reversed(reachable([target], parents_of(revisions.values())))
    squashed = [revisions[name] for name in in_order]
    replaces: dict[str, list[str]] = {}
    for revision in squashed:
        earlier = [(name, value.split()) for name, value in revision.replaces.items()]
        own = (revision.revision, [checksum(revision.path.read_bytes())])
        for name, values in [*earlier, own]:
            replaces.setdefault(name, []).extend(values)
    return Squash(
        target,
        [target] == newest,
        [revision.path for revision in squashed],
        {name: " ".join(values) for name, values in replaces.items()},
    )


def _refuse_uncommitted(files: list[Path]) -> None:
    """Refuses to delete what git could not give back."""
    try:
        missing = not_in_head(files)
    except CommandError as error:
        raise CommandError(
            f"Squashing deletes {len(files)} files, and only git could give them back: {error}\n"
            'Commit them first: git init && git add --all && git commit --message "Start"'
        ) from None
    if missing:
        raise CommandError(
            "These revision files are not in git as they are, and squashing deletes files. "
            "Commit them first:\n" + "\n".join(f"    {path.name}" for path in missing)
        )


@contextmanager
def _history_until(plan: Squash, shadow: Settings) -> Iterator[Settings]:
    """A database at the revision: the shadow database itself, or one that is made for it."""
    if plan.is_newest:
        yield shadow
        return
    with temporary_database(shadow, "squash_old") as settings:
        done = subprocess.run(
            [sys.executable, "-m", "app.migrate", "upgrade", "--", plan.target],
            cwd=BACKEND_DIR,
            env={**os.environ, **_address(settings)},
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise CommandError(f"The history can't be applied:\n{done.stderr.strip()}")
        yield settings


def _refuse_difference(source: str, old: Settings) -> None:
    """Runs the new revision both ways and compares with what the old ones made."""
    with temporary_database(old, "squash_new") as new, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "squashed.py"
        path.write_bytes(source.encode())
        _run(new, path, "upgrade")
        difference = list(
            unified_diff(
                in_one_form("\n".join(dumped_statements(old))).splitlines(),
                in_one_form("\n".join(dumped_statements(new))).splitlines(),
                "the history makes",
                "squashed it would make",
                lineterm="",
            )
        )
        if difference:
            raise CommandError(
                "Nothing was changed: squashed, the history would make something else.\n"
                + "\n".join(difference[:SHOWN_LINES])
            )
        _run(new, path, "downgrade")
        left = dumped_statements(new)
        if left:
            raise CommandError(
                "Nothing was changed: rolled back, the squashed revision would leave this.\n"
                + "\n".join(left[:SHOWN_LINES])
            )


def _run(settings: Settings, path: Path, direction: str) -> None:
    with connect(settings) as connection:
        context = MigrationContext.configure(connection)
        try:
            with context.begin_transaction(), Operations.context(context):
                runpy.run_path(str(path))[direction]()
        except DBAPIError as error:
            raise CommandError(
                f"Nothing was changed: the {direction} of the squashed revision fails.\n"
                f"PostgreSQL says: {str(error.orig).strip()}\nSQL: {error.statement}"
            ) from None


def _address(settings: Settings) -> dict[str, str]:
    """What leads another process to a database; the configured password it reads itself."""
    address = {
        "POSTGRES_HOST": settings.postgres_host,
        "POSTGRES_PORT": str(settings.postgres_port),
        "POSTGRES_DB": settings.postgres_db,
    }
    if settings.postgres_password != get_settings().postgres_password:
        address["POSTGRES_PASSWORD"] = settings.postgres_password.get_secret_value()
    return address
