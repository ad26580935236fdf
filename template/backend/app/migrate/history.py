"""One line of revisions: which files there are, which one is the newest, and re-parenting.

latest_revision.txt holds the newest revision, so that two branches which both add one conflict
there, in git, and not in a deployment.
"""

import fcntl
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from warnings import catch_warnings, simplefilter

from alembic.script import ScriptDirectory
from alembic.util import CommandError

from app.core.files import BACKEND_DIR
from app.migrate.lost_file import how_to_get_back
from app.migrate.revision_file import LATEST, VERSIONS, Revision, parse_revision, revision_files


def read_revisions() -> dict[str, Revision]:
    """All revision files by their revision.

    Raises:
        CommandError: a file is no revision, or two files have the same one.
    """
    found: dict[str, Revision] = {}
    for path in revision_files():
        revision = read_revision(path)
        if revision.revision in found:
            raise CommandError(
                f"{found[revision.revision].path.name} and {path.name} are both revision "
                f"{revision.revision}. Delete the one that is not in git's main branch."
            )
        found[revision.revision] = revision
    return found


def read_revision(path: Path) -> Revision:
    """Reads what one file says of itself, without running it.

    Raises:
        CommandError: the file is no Python, or lacks one of the two.
    """
    try:
        return parse_revision(path, path.read_bytes())
    except SyntaxError as error:
        raise CommandError(
            f"{_shown(path)}, line {error.lineno}: SyntaxError: {error.msg}"
        ) from None
    except ValueError as error:
        raise CommandError(f"{_shown(path)} can't be read: {error}") from None
    except KeyError as error:
        raise CommandError(f"{_shown(path)} sets no {error}: is it a migration?") from None


def heads(revisions: Mapping[str, Revision]) -> list[str]:
    """The revisions that no other one follows."""
    parents = {parent for revision in revisions.values() for parent in revision.parents}
    return sorted(revisions.keys() - parents)


def ancestors(revisions: Mapping[str, Revision], revision: str) -> set[str]:
    """A revision with all that come before it.

    Raises:
        CommandError: the revision, or one before it, has no file.
    """
    found: set[str] = set()
    waiting = [revision]
    while waiting:
        name = waiting.pop()
        if name not in revisions:
            raise CommandError(f"There is no file of revision {name}. `just db-history` lists all.")
        if name not in found:
            found.add(name)
            waiting.extend(revisions[name].parents)
    return found


def refuse_several_heads(revisions: dict[str, Revision]) -> None:
    """Refuses a history that has branched.

    Raises:
        CommandError: names the heads and the way back to one line, or a file that is missing.
    """
    refuse_gaps(revisions)
    found = heads(revisions)
    if len(found) > 1:
        raise CommandError(explain_several_heads(found))


def explain_several_heads(found: list[str]) -> str:
    """What it means that the history has branched, and the way back to one line."""
    return (
        f"The history has {len(found)} heads: {', '.join(found)}. Two branches added revisions "
        "side by side. Put yours after the others with: just db-rebase"
    )


def refuse_gaps(revisions: dict[str, Revision]) -> None:
    """Refuses a history in which a revision follows one that has no file.

    Raises:
        CommandError: names both.
    """
    for revision in revisions.values():
        missing = [parent for parent in revision.parents if parent not in revisions]
        if missing:
            raise CommandError(
                f"{_shown(revision.path)} follows {', '.join(missing)}, which has no file: it is "
                "on another branch or was deleted.\n" + "\n".join(map(how_to_get_back, missing))
            )


def load_scripts(scripts: ScriptDirectory) -> None:
    """Lets Alembic load the revision files.

    Raises:
        CommandError: one is missing that another one follows, or Alembic looks elsewhere.
    """
    elsewhere = {Path(folder).resolve() for folder in scripts.version_locations} - {VERSIONS}
    if elsewhere or scripts.recursive_version_locations:
        raise CommandError(
            "Revisions are in backend/alembic/versions and nowhere else. Move them there, and take "
            "version_locations and recursive_version_locations out of backend/alembic.ini."
        )
    revision_files()
    with catch_warnings():
        simplefilter("ignore")  # Alembic's, of what is an error right after
        try:
            scripts.get_heads()
        except KeyError:
            refuse_gaps(read_revisions())
            raise


@contextmanager
def one_writer() -> Iterator[None]:
    """Waits for other commands that write revisions; the kernel frees the lock, however they end."""
    folder = os.open(LATEST.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def set_latest(revision: str) -> None:
    """Records the newest revision."""
    LATEST.write_text(f"{revision}\n", encoding="utf-8")


def reparented(source: bytes, old: str, new: str) -> bytes:
    """A revision file's bytes with another `down_revision`; nothing else changes.

    Raises:
        CommandError: the assignment is not written in a way that can be replaced.
    """
    assignment = rb"(?m)^(down_revision\b[^=\n]*=[ \t]*['\"])" + re.escape(old.encode())
    changed, count = re.subn(assignment, lambda match: match[1] + new.encode(), source)
    if count != 1:
        raise CommandError(
            f"The line that sets down_revision to {old} is not a plain assignment. "
            f"Change it by hand, to {new}."
        )
    docstring = rb"(?m)^(Revises:[ \t]*)" + re.escape(old.encode())
    return re.sub(docstring, lambda match: match[1] + new.encode(), changed, count=1)


def _shown(path: Path) -> str:
    return str(path.relative_to(BACKEND_DIR.parent))
