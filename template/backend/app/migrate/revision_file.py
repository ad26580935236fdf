"""A revision file, read without running it. Imports next to nothing."""

import ast
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.core.files import BACKEND_DIR, ConfigurationError

VERSIONS = BACKEND_DIR / "alembic" / "versions"
LATEST = BACKEND_DIR / "alembic" / "latest_revision.txt"
# What a revision file may say of itself.
READ = {"revision", "down_revision", "irreversible", "replaces", "accepted", "refused"}
FILL_IN = "Fill in: "
# Why a revision is refused, in the form in which `just db-migrate` writes it.
_TEXT = rb"""(?:"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')"""
REFUSED = re.compile(rb"^refused = \{\n(?:    %b: %b,\n)*\}\n" % (_TEXT, _TEXT), re.MULTILINE)


@dataclass(frozen=True)
class Place:
    """A place in a revision file that somebody has to fill in; see app.migrate.fill_in."""

    line: int
    function: str  # upgrade or downgrade
    what: str


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
    # The rules by which `just db-migrate` refused it, each with what is wrong.
    refused: Mapping[str, str] = field(default_factory=dict)
    # The places that somebody still has to fill in.
    unfilled: tuple[Place, ...] = ()


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
    for name in ("accepted", "refused"):
        rules = values.get(name, {})
        if not isinstance(rules, dict) or not all(isinstance(v, str) for v in rules.values()):
            raise ValueError(name + ' is not of this form: {"rule": "text"}')
    down = values["down_revision"]
    parents = (down,) if isinstance(down, str) else tuple(down or ())
    return Revision(
        path,
        values["revision"],
        parents,
        values.get("irreversible", ""),
        values.get("replaces", {}),
        values.get("accepted", {}),
        values.get("refused", {}),
        tuple(_unfilled(source)),
    )


def revision_of(source: bytes) -> str:
    """The `revision` that a file's content sets; empty if it sets none."""
    return str(_assignments(source).get("revision", ""))


def checksum(source: bytes) -> str:
    """The checksum of what a revision file does, the same for every line ending."""
    return hashlib.sha256(content(source)).hexdigest()


def content(source: bytes) -> bytes:
    """A revision file with LF line endings, without what is refused in it: that comes and goes."""
    return REFUSED.sub(b"", source.replace(b"\r\n", b"\n"))


def _assignments(source: bytes) -> dict[str, Any]:
    values = {}
    for node in ast.parse(source).body:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ):
                if name in READ:
                    values[name] = ast.literal_eval(value)
    return values


def _unfilled(source: bytes) -> Iterator[Place]:
    """The places to fill in that still raise."""
    if FILL_IN.encode() not in source:
        return
    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    for function in functions:
        for node in ast.walk(function):
            match node:
                case ast.Raise(exc=ast.Call(args=[ast.Constant(value=str(text))])):
                    if text.startswith(FILL_IN):
                        yield Place(node.lineno, function.name, text.removeprefix(FILL_IN))
