"""A revision file, read without running it. Imports next to nothing."""

import ast
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.core.files import BACKEND_DIR, ConfigurationError

VERSIONS = BACKEND_DIR / "alembic" / "versions"
LATEST = BACKEND_DIR / "alembic" / "latest_revision.txt"


@dataclass(frozen=True)
class Revision:
    """A revision file, read without running it."""

    path: Path
    revision: str
    parents: tuple[str, ...]
    # Why there is no way back from it; empty when there is.
    irreversible: str = ""
    # The revisions in whose place it is, with the checksums of their files.
    replaces: Mapping[str, str] = field(default_factory=dict)
    # The rules that it breaks on purpose, each with the reason.
    accepted: Mapping[str, str] = field(default_factory=dict)


def revision_files() -> list[Path]:
    """All revision files.

    Raises:
        ConfigurationError: some are where nothing looks for them.
    """
    found = sorted(VERSIONS.rglob("*.py"))
    for path in found:
        if path.parent != VERSIONS:
            raise ConfigurationError(
                f"{path.relative_to(BACKEND_DIR)} is in a folder of its own, where its revision "
                "would not be found. Move it to alembic/versions."
            )
    return found


def parse_revision(path: Path, source: bytes) -> Revision:
    """What a revision file's content says.

    Raises:
        SyntaxError: it is no Python.
        ValueError: one of the values is not a constant, or not what it has to be.
        KeyError: it lacks `revision` or `down_revision`.
    """
    values = _assignments(source)
    accepted = values.get("accepted", {})
    if not isinstance(accepted, dict) or not all(isinstance(v, str) for v in accepted.values()):
        raise ValueError('accepted is not of this form: {"rule": "reason"}')
    down = values["down_revision"]
    parents = (down,) if isinstance(down, str) else tuple(down or ())
    return Revision(
        path,
        values["revision"],
        parents,
        values.get("irreversible", ""),
        values.get("replaces", {}),
        accepted,
    )


def revision_of(source: bytes) -> str:
    """The `revision` that a file's content sets; empty if it sets none."""
    return str(_assignments(source).get("revision", ""))


def checksum(source: bytes) -> str:
    """The checksum of a revision file's content, the same for every line ending."""
    return hashlib.sha256(source.replace(b"\r\n", b"\n")).hexdigest()


def _assignments(source: bytes) -> dict[str, Any]:
    values = {}
    for node in ast.parse(source).body:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ):
                if name in {"revision", "down_revision", "irreversible", "replaces", "accepted"}:
                    values[name] = ast.literal_eval(value)
    return values
