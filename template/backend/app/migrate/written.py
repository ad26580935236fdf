"""Remembers on this machine which files `just db-migrate` wrote together, and what was in them."""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from app.migrate.revision_file import LATEST, VERSIONS, checksum

# Git ignores it: for others these are files like any others.
RECORD = LATEST.parent / ".written.json"


def remember_written(paths: Sequence[Path]) -> None:
    """Records the files of one run."""
    runs = [run for run in read_written() if any((VERSIONS / name).exists() for name in run)]
    _write([*runs, {path.name: checksum(path.read_bytes()) for path in paths}])


def forget_written(names: Sequence[str]) -> None:
    """Forgets runs that were undone."""
    _write([run for run in read_written() if not run.keys() & set(names)])


def read_written() -> list[dict[str, str]]:
    """The runs, the newest last: the checksums of their files by name."""
    with suppress(OSError, ValueError):
        return [dict(run) for run in json.loads(RECORD.read_text(encoding="utf-8"))]
    return []


def _write(runs: list[dict[str, str]]) -> None:
    RECORD.write_text(json.dumps(runs, indent=1) + "\n", encoding="utf-8")
