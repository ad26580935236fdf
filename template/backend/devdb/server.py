"""Starts and stops one PostgreSQL server on 127.0.0.1, with a password."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from app.core.config import Settings
from app.core.files import unnamed_file
from devdb.binaries import UNPRIVILEGED_HOME, DevelopmentDatabaseError, programs

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 60
POLL_S = 0.02
# For databases that nobody misses after a crash.
THROWAWAY_OPTIONS = ("fsync=off", "full_page_writes=off", "synchronous_commit=off")


@dataclass(frozen=True)
class Place:
    """Where a server keeps its files."""

    home: Path

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def log(self) -> Path:
        return self.home / "server.log"


def initialize(place: Place, settings: Settings, sync: bool = True) -> None:
    """Makes an empty cluster, whole or not at all.

    Raises:
        DevelopmentDatabaseError: the folder can't be made, or initdb failed.
    """
    run = programs()
    try:
        place.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise DevelopmentDatabaseError(
            f"A database server has its files in {place.home}, which can't be made: "
            f"{error.strerror}. Where nothing can be written, let one run: just start"
        ) from None
    half_made = place.home / "data.new"
    _remove(half_made)
    if run.user is not None:
        # The project's folder may be closed to "nobody", so the data is elsewhere.
        UNPRIVILEGED_HOME.mkdir(mode=0o755, exist_ok=True)
        real = Path(tempfile.mkdtemp(dir=UNPRIVILEGED_HOME, prefix="data-"))
        os.chown(real, run.user, run.user)
        half_made.symlink_to(real)
    with unnamed_file(settings.postgres_password.get_secret_value()) as password_file:
        if run.user is not None:
            os.fchown(password_file, run.user, run.user)
        result = subprocess.run(
            run.command(
                "initdb",
                f"--pgdata={half_made.resolve() if run.user is not None else half_made}",
                f"--username={settings.postgres_user}",
                f"--pwfile=/dev/fd/{password_file}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                # The same order of text on every machine.
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
                "--locale=C",
                *([] if sync else ["--no-sync"]),
            ),
            capture_output=True,
            text=True,
            pass_fds=[password_file],
            user=run.user,
            group=run.user,
            env=_environment(),
            cwd="/",
        )
    if result.returncode != 0:
        _remove(half_made)
        raise DevelopmentDatabaseError(f"initdb failed:\n{result.stderr.strip()}")
    half_made.rename(place.data)


def launch(
    place: Place, settings: Settings, options: tuple[str, ...] = ()
) -> subprocess.Popen[bytes]:
    """Starts the server and returns its process when it accepts connections.

    Raises:
        DevelopmentDatabaseError: the port is taken, or the server did not come up.
    """
    run = programs()
    _clear_remains(place)
    port = settings.postgres_port
    _refuse_taken_port(port)
    configuration = [
        f"port={port}",
        "listen_addresses=127.0.0.1",
        # No socket: its path would have to be shorter than 108 bytes.
        "unix_socket_directories=",
        *options,
    ]
    data = place.data.resolve()
    with place.log.open("ab") as log:
        beginning = log.tell()
        process = subprocess.Popen(
            run.command(
                "postgres", "-D", data, *(part for s in configuration for part in ("-c", s))
            ),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            user=run.user,
            group=run.user,
            env=_environment(),
            cwd="/",
            start_new_session=True,
        )
    deadline = time.monotonic() + START_TIMEOUT_S
    while not _is_ready(place):
        if process.poll() is not None:
            with place.log.open("rb") as log:
                log.seek(beginning)
                said = log.read().decode(errors="replace").strip()
            raise DevelopmentDatabaseError(
                f"PostgreSQL did not start. Its log, {place.log}, says:\n{said}"
            )
        if time.monotonic() > deadline:
            raise DevelopmentDatabaseError(
                f"PostgreSQL is not ready after {START_TIMEOUT_S} s. Watch {place.log}; "
                "after a crash recovery may take longer: then run just start again."
            )
        time.sleep(POLL_S)
    return process


def stop(place: Place, how: signal.Signals = signal.SIGINT) -> bool:
    """Stops the server and tells whether one was running.

    Args:
        how: SIGINT ends open transactions and shuts down cleanly, SIGQUIT leaves at once.

    Raises:
        DevelopmentDatabaseError: it still runs after a minute.
    """
    process = running(place)
    if process is None:
        return False
    process.send_signal(how)
    try:
        process.wait(STOP_TIMEOUT_S)
    except psutil.TimeoutExpired:
        raise DevelopmentDatabaseError(
            f"PostgreSQL (pid {process.pid}) does not stop. Watch {place.log}."
        ) from None
    return True


def running(place: Place) -> psutil.Process | None:
    """The server's main process, unless there is none or only its remains."""
    pid = _pid_file_line(place, 0)
    if not pid.isdecimal():
        return None
    try:
        process = psutil.Process(int(pid))
        return process if _works_in(process, place.data.resolve()) else None
    except psutil.Error:
        return None


def port_in_use(place: Place) -> int:
    """The port of the running server."""
    return int(_pid_file_line(place, 3))


def remove(place: Place) -> None:
    """Deletes a stopped server's files."""
    _remove(place.data)
    _remove(place.home / "data.new")
    shutil.rmtree(place.home, ignore_errors=True)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _is_ready(place: Place) -> bool:
    return _pid_file_line(place, 7).strip() == "ready" and running(place) is not None


def _pid_file_line(place: Place, number: int) -> str:
    # The lines of postmaster.pid: process id, data, start time, port, …, state.
    try:
        lines = (place.data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return ""
    return lines[number] if len(lines) > number else ""


def _clear_remains(place: Place) -> None:
    """After a crash, waits for the last server's processes and removes its pid file.

    PostgreSQL itself trusts the pid file: a zombie, or another program that got the number since,
    would pass for a running server.
    """
    deadline = time.monotonic() + START_TIMEOUT_S
    while left := _processes_in(place.data.resolve()):
        if time.monotonic() > deadline:
            raise DevelopmentDatabaseError(
                f"The process {left[0].pid} of the last server does not end. "
                "End it, then run: just start"
            )
        time.sleep(POLL_S)
    (place.data / "postmaster.pid").unlink(missing_ok=True)


def _processes_in(data: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if _works_in(process, data):
                found.append(process)
    return found


def _works_in(process: psutil.Process, data: Path) -> bool:
    """Whether it is a live process of the server with this data, also after the folder moved."""
    if process.name() != "postgres" or process.status() == psutil.STATUS_ZOMBIE:
        return False
    try:
        return process.cwd() == str(data)
    except psutil.AccessDenied:  # root in a container may not look into another user's process
        return str(data) in process.cmdline()


def _refuse_taken_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise DevelopmentDatabaseError(
                f"Port {port} is not available ({error.strerror}). Choose another one with a line "
                f"in .env: POSTGRES_PORT={port + 1}"
            ) from None


def _environment() -> dict[str, str]:
    # PGDATA, PGPORT and their like would redirect the programs.
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


def _remove(data: Path) -> None:
    if data.is_symlink():
        shutil.rmtree(data.resolve(), ignore_errors=True)
        data.unlink()
    else:
        shutil.rmtree(data, ignore_errors=True)
