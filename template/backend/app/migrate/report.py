"""What a check found, as a line for people or as JSON for machines."""

import json
import os
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import groupby
from textwrap import indent
from typing import Literal

MARKS = {"passed": "ok", "failed": "FAILED", "skipped": "skipped"}
COLORS = {"passed": 32, "failed": 31, "skipped": 33}


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, and what to do about it."""

    message: str
    fix: str = ""


@dataclass(frozen=True)
class Outcome:
    """How a check ended. `blocks` names the checks that can't tell anything after this one."""

    outcome: Literal["passed", "failed", "skipped"]
    detail: str
    findings: tuple[Finding, ...] = ()
    blocks: frozenset[str] = frozenset()


def passed(detail: str) -> Outcome:
    return Outcome("passed", detail)


def skipped(reason: str) -> Outcome:
    return Outcome("skipped", reason)


def failed(detail: str, findings: Iterable[Finding], blocks: Iterable[str] = ()) -> Outcome:
    return Outcome("failed", detail, tuple(findings), frozenset(blocks))


def refused(detail: str, error: Exception, blocks: Iterable[str] = ()) -> Outcome:
    """A failure that is told by an exception. If it has several lines the last says what to do."""
    message, _, last = str(error).rpartition("\n")
    return failed(detail, [Finding(message, last) if message else Finding(last)], blocks)


@dataclass(frozen=True)
class Result:
    """One check of a run."""

    name: str
    outcome: Outcome
    seconds: float


def lines(result: Result) -> str:
    """One line for a check, and its findings below it."""
    kind = result.outcome.outcome
    mark = f"{MARKS[kind]:8}"
    if sys.stdout.isatty() and "NO_COLOR" not in os.environ:
        mark = f"\033[{COLORS[kind]}m{mark}\033[0m"
    text = [f"{mark}{result.name:10} {result.outcome.detail} ({result.seconds:.2f} s)"]
    for fix, findings in groupby(result.outcome.findings, lambda finding: finding.fix):
        text += [indent(finding.message, "    ") for finding in findings]
        text += [indent(fix, "    ")] if fix else []
    return "\n".join(text)


def summary(results: list[Result]) -> str:
    kinds = [result.outcome.outcome for result in results]
    counts = [f"{kinds.count(kind)} {kind}" for kind in MARKS if kind in kinds]
    seconds = sum(result.seconds for result in results)
    return f"{len(results)} checks in {seconds:.1f} s: {', '.join(counts)}."


def as_json(results: list[Result]) -> str:
    return json.dumps(
        {
            "ok": all_passed(results),
            "seconds": round(sum(result.seconds for result in results), 3),
            "checks": [
                {
                    "name": result.name,
                    "outcome": result.outcome.outcome,
                    "detail": result.outcome.detail,
                    "findings": [asdict(finding) for finding in result.outcome.findings],
                    "seconds": round(result.seconds, 3),
                }
                for result in results
            ],
        },
        indent=2,
        ensure_ascii=False,
    )


def all_passed(results: list[Result]) -> bool:
    """Whether none failed; a skipped check is no failure."""
    return all(result.outcome.outcome != "failed" for result in results)
