"""What is unsafe in a revision on a database that is in use, unless it is accepted with a reason."""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from textwrap import indent, shorten

from alembic.util import CommandError

from app.migrate.capture import Captured, plain_name
from app.migrate.columns import Retyped
from app.migrate.history import read_revisions
from app.migrate.in_use import InUse, used_by_base_branch
from app.migrate.lossy import is_plain_cast, keeps_values, query
from app.migrate.refusal import OR_UNDO, how_to_accept, quoted, record_refusal
from app.migrate.report import Finding
from app.migrate.revision_file import Revision
from app.migrate.rules import (
    GENERAL,
    KEEP,
    LOSES_VALUES,
    ONLY_IF_REWRITTEN,
    OWN,
    ROLLOUT,
    SPECIAL,
    SQUAWK,
    STILL_IN_USE,
)
from app.migrate.squawk import Hit, NoSquawkError, squawk_hits

ALL_ROWS = re.compile(r"(?:^|;)\s*((UPDATE|DELETE FROM|TRUNCATE)\b[^;]*)", re.IGNORECASE)
MAX_SQL_LENGTH = 100


@dataclass(frozen=True)
class Problem:
    """A broken rule, and the rules by which it may be accepted."""

    rule: str
    what: str
    instead: str
    accepted_by: frozenset[str]

    @property
    def message(self) -> str:
        return f"{self.rule}: {self.what}\nInstead: {self.instead}"


def lint(captured: Sequence[Captured], revisions: Mapping[str, Revision]) -> list[Finding]:
    """What is unsafe in the revisions and not accepted in their files.

    Raises:
        NoSquawkError: nothing is that can be told without it.
        CommandError: squawk failed.
    """
    return _findings(_unaccepted(captured, revisions), revisions)


def refuse_unsafe(captured: Sequence[Captured], besides: str = "") -> None:
    """Refuses new revisions that are unsafe; where there is no squawk it only says so.

    Args:
        besides: What else they are refused for.

    Raises:
        CommandError: names what is unsafe, what it does and what to write instead.
    """
    unsafe = _record_unsafe(captured)
    if unsafe or besides:
        raise CommandError("\n".join([*([besides] if besides else []), *unsafe, OR_UNDO]))


def _record_unsafe(captured: Sequence[Captured]) -> list[str]:
    """Records in the files what is unsafe; returns what to say of it."""
    revisions = read_revisions()
    try:
        left = _unaccepted(captured, revisions)
    except NoSquawkError as error:
        print(f"Not checked for what is unsafe on a database in use: {error}", file=sys.stderr)
        return []
    for name, unsafe in left.items():
        what = {p.rule: " ".join(q.what for q in unsafe if q.rule == p.rule) for p in unsafe}
        record_refusal(revisions[name].path, what)
    lines = ["This is not safe on a database that is in use."]
    for fix, group in groupby(_findings(left, revisions), lambda finding: finding.fix):
        lines += [*(indent(finding.message, "    ") for finding in group), fix]
    return [*lines, "Then go on with: just db-check"] if left else []


def _unaccepted(
    captured: Sequence[Captured], revisions: Mapping[str, Revision]
) -> dict[str, list[Problem]]:
    """The problems of each revision that has some which its file does not accept.

    Raises:
        NoSquawkError: nothing is that can be told without it.
    """
    in_use = used_by_base_branch()
    found = {}
    unknown = None
    for one in captured:
        accepted = revisions[one.revision].accepted
        reasons = {rule for rule, reason in accepted.items() if reason.strip()}
        seen: dict[Problem, None] = {}
        try:
            for problem in problems(one, in_use):
                seen[problem] = None
        except NoSquawkError as error:
            unknown = error
        left = [problem for problem in seen if not problem.accepted_by & reasons]
        if left:
            found[one.revision] = left
    if unknown and not found:
        raise unknown
    return found


def _findings(
    left: Mapping[str, Sequence[Problem]], revisions: Mapping[str, Revision]
) -> list[Finding]:
    return [
        Finding(problem.message, how_to_accept(revisions[name], [p.rule for p in unsafe]))
        for name, unsafe in left.items()
        for problem in unsafe
    ]


def problems(captured: Captured, in_use: InUse) -> Iterator[Problem]:
    """The rules that a revision breaks, accepted or not; first those that need no squawk."""
    for statement in captured.statements:
        for retyped in statement.retyped:
            if not (keeps_values(retyped.old, retyped.new) and is_plain_cast(retyped)):
                yield _lossy_problem(retyped, captured.server_version)
    reported = [hit for hit in squawk_hits(captured) if hit.rule in SQUAWK]
    special = {(hit.statement, hit.text) for hit in reported if hit.rule in SPECIAL}
    for hit in [*reported, *_own_hits(captured, reported)]:
        is_said = hit.rule == GENERAL and (hit.statement, hit.text) in special
        if not is_said and not _is_harmless(hit, captured):
            yield _problem(hit, captured, in_use)


def _own_hits(captured: Captured, reported: Sequence[Hit]) -> Iterator[Hit]:
    explained = {hit.statement for hit in reported if hit.rule in ONLY_IF_REWRITTEN}
    for statement in captured.statements:
        in_one_line = " ".join(statement.sql.split())
        for text, verb in ALL_ROWS.findall(in_one_line):
            if verb.upper() == "TRUNCATE":
                yield Hit("ban-truncate", statement, text)
            elif not re.search(r"\bWHERE\b", text, re.IGNORECASE):
                yield Hit("change-in-batches", statement, text)
        is_truncate = in_one_line.upper().startswith("TRUNCATE")
        if statement.rewritten and statement not in explained and not is_truncate:
            yield Hit("rewriting-table", statement, in_one_line)


def _is_harmless(hit: Hit, captured: Captured) -> bool:
    """Whether the database knows better."""
    table = _table(hit, captured)
    if table in captured.created:
        return True
    if hit.rule in ONLY_IF_REWRITTEN:
        return not hit.statement.rewritten
    if hit.rule == "adding-not-nullable-field":
        return (table, hit.name) in hit.statement.never_null
    # The index goes with its table, of which another rule speaks.
    return hit.rule == "require-concurrent-index-deletion" and table in captured.dropped


def _problem(hit: Hit, captured: Captured, in_use: InUse) -> Problem:
    rule = (SQUAWK | OWN)[hit.rule]
    name, happens, instead = hit.rule, rule.happens, rule.instead
    table = _table(hit, captured)
    accepted_by = {name}
    if name in ROLLOUT:
        accepted_by.add(STILL_IN_USE)
        column = hit.name if name in {"ban-drop-column", "renaming-column"} else ""
        file = in_use.files.get((table, column))
        if file:
            name, accepted_by = STILL_IN_USE, {STILL_IN_USE}
            happens += f" The models of {in_use.branch} still have it ({file})."
            instead = KEEP.get(hit.rule, instead)
        elif in_use.unknown:
            happens += f" Whether the base branch still has it is not known: {in_use.unknown}"
    new, definition = hit.definition
    schema, _, plain = table.rpartition(".")
    in_schema = f', schema="{schema}"' if schema else ""
    values = {
        "call": ", ".join(map(quoted, (new, plain, definition))) + in_schema,
        "plain": plain or "its table",
        "plain_name": hit.name.rpartition(".")[2],
        "schema": in_schema,
        "table": table or "its table",
        "name": hit.name,
        "sql": shorten(hit.text, MAX_SQL_LENGTH, placeholder=" …"),
    }
    return Problem(name, happens.format(**values), instead.format(**values), frozenset(accepted_by))


def _lossy_problem(retyped: Retyped, server_version: str) -> Problem:
    values = {
        "table": plain_name(retyped.before.place),
        "name": retyped.before.name,
        # An enum may have been given another name until its columns have the new one.
        "old": (retyped.before.type if retyped.old.labels else retyped.old).shown,
        "new": retyped.new.shown,
        "select": query(retyped, server_version),
    }
    rule = OWN[LOSES_VALUES]
    happens, instead = rule.happens.format(**values), rule.instead.format(**values)
    return Problem(LOSES_VALUES, happens, instead, frozenset({LOSES_VALUES}))


def _table(hit: Hit, captured: Captured) -> str:
    return hit.table or captured.index_of.get(hit.name, "")
