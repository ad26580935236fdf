"""A server of its own for tests: fast, empty, gone afterwards."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from app.core.config import Settings
from app.core.files import PROJECT_DIR
from devdb import server

HOME = PROJECT_DIR / ".postgres" / "throwaway"


@contextmanager
def throwaway_server(settings: Settings) -> Iterator[None]:
    """Runs a server on the settings' port, with their role and password, while the block runs."""
    _remove_abandoned()
    place = server.Place(HOME / _name_of(psutil.Process()))
    server.initialize(place, settings, sync=False)
    try:
        process = server.launch(place, settings, server.THROWAWAY_OPTIONS)
        try:
            yield
        finally:
            server.stop(place, signal.SIGQUIT)
            process.wait()
    finally:
        server.remove(place)


def _remove_abandoned() -> None:
    """Ends the servers of processes that were killed."""
    alive = {
        _name_of(process)
        for process in psutil.process_iter()
        if process.status() != psutil.STATUS_ZOMBIE
    }
    for home in HOME.glob("*"):
        if home.name not in alive:
            place = server.Place(Path(home))
            server.stop(place, signal.SIGQUIT)
            server.remove(place)


def _name_of(process: psutil.Process) -> str:
    # With its start: the process id may have gone to another program.
    return f"{process.pid}-{process.create_time():.0f}"
