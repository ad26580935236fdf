"""Runs squawk, the linter, over what one revision executed."""

import json
import re
import shutil
import subprocess
import sysconfig
from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

from alembic.util import CommandError

from app.migrate.capture import Captured, Statement, plain_name

NAME = r'((?:"[^"]+"|[\w$]+)(?:\.(?:"[^"]+"|[\w$]+))?)'
TABLE = re.compile(
    rf"\b(?:TABLE(?: IF EXISTS)?|ON|UPDATE|FROM|TRUNCATE(?: TABLE)?)(?: ONLY)? {NAME}",
    re.IGNORECASE,
)
OBJECT = re.compile(
    r"\b(?:(?:DROP )?INDEX(?: CONCURRENTLY)?|(?:ADD|DROP|ALTER|RENAME)(?: COLUMN)?)"
    rf"(?: IF (?:NOT )?EXISTS)? {NAME}",
    re.IGNORECASE,
)
CONSTRAINT = re.compile(
    rf"\bADD (?:CONSTRAINT {NAME} )?(?:FOREIGN KEY|UNIQUE) ?(?P<definition>.*)", re.IGNORECASE
)
MISSING = (
    "squawk is not installed in this environment. Install it with: just setup (there is no build "
    "for musl)"
)


class NoSquawkError(CommandError):
    """squawk is not there, or does not run here."""


@dataclass(frozen=True)
class Hit:
    """A rule and what breaks it."""

    rule: str
    statement: Statement
    # In one line, from where its SQL begins to the end of the part that is meant.
    text: str

    @property
    def table(self) -> str:
        found = TABLE.search(self.text)
        return plain_name(found[1]) if found else ""

    @property
    def name(self) -> str:
        """The column or index."""
        found = OBJECT.findall(self.text)
        return plain_name(found[-1]) if found else ""

    @property
    def definition(self) -> tuple[str, str]:
        """The name of a constraint or index, and what follows the word for its kind or the table."""
        constraint, table = CONSTRAINT.search(self.text), TABLE.search(self.text)
        if constraint:
            return plain_name(constraint[1] or "…"), constraint["definition"]
        return self.name, self.text[table.end() :].strip() if table else ""


def squawk_hits(captured: Captured) -> list[Hit]:
    """What squawk reports, by all of its rules.

    Raises:
        NoSquawkError: it is not there, or does not run here.
        CommandError: it failed.
    """
    lines = list(captured.lines())
    if not lines:
        return []
    while True:
        source, starts = b"", []
        for text, _ in lines:
            starts.append(len(source))
            source += f"{text.removesuffix(';')}\n;\n".encode()
        reports = _run_squawk(source, captured.server_version)
        # It says nothing of the others as long as there is one that it can't read.
        unreadable = {
            bisect_right(starts, _offset(source, report["line"], report["column"])) - 1
            for report in reports
            if report["rule_name"] == "syntax-error"
        }
        if not unreadable:
            break
        lines = [line for number, line in enumerate(lines) if number not in unreadable]
    hits = []
    for report in reports:
        start = _offset(source, report["line"], report["column"])
        number = bisect_right(starts, start) - 1
        end = _offset(source, report["line_end"], report["column_end"])
        statement = lines[number][1]
        if statement is not None:
            # A string may hold several statements.
            begin = source.rfind(b";", starts[number], start) + 1 or starts[number]
            text = " ".join(source[begin:end].decode().rstrip(";\n ").split())
            hits.append(Hit(report["rule_name"], statement, text))
    return hits


def _offset(source: bytes, line: int, column: int) -> int:
    """The place of a byte, both counted from 0."""
    return sum(len(one) + 1 for one in source.split(b"\n")[:line]) + column


def _run_squawk(source: bytes, server_version: str) -> list[dict[str, Any]]:
    program = shutil.which("squawk", path=sysconfig.get_path("scripts"))
    if program is None:
        raise NoSquawkError(MISSING)
    # With no configuration: a file of that name above the project would be found, too.
    options = ["--reporter=json", "--config=/dev/null", f"--pg-version={server_version}"]
    try:
        done = subprocess.run([program, *options], input=source, capture_output=True)
    except OSError as error:
        raise NoSquawkError(f"squawk does not run here: {error}") from None
    if done.returncode not in {0, 1} or not done.stdout:
        raise CommandError(f"squawk failed: {done.stderr.decode().strip()}")
    reports: list[dict[str, Any]] = json.loads(done.stdout)
    return reports
