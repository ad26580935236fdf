"""What `just db-migrate` refused, recorded in the revision file itself.

The record is a line beside `down_revision`: `refused = {"rule": "what is wrong"}`. In the file it
goes wherever the revision goes: to teammates, CI and production, through git, under the eyes of a
review. A record elsewhere would stay on the machine where it was made. Checksums leave it
out: with it or without, the revision does the same.

A rule in `accepted`, with a reason, answers it. When a file was changed instead, `just db-migrate`
and `just db-check` look again, and take the record out if nothing is left to refuse. The places to
fill in need no record: each is one by itself as long as it raises.
"""

import ast
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from app.migrate.revision_file import FILL_IN, Revision
from app.migrate.rules import ROLLOUT, STILL_IN_USE

# A revision that just db-migrate could not try to the end.
UNPROVED = "unproved"
OR_UNDO = "Or take it back and change the models: just db-migrate --undo"
# Where a file says what it is; the record comes after the last of these.
HEADER = {"revision", "down_revision", "branch_labels", "depends_on"}


def open_refusals(revision: Revision) -> dict[str, str]:
    """What was refused in a revision and nobody accepted since, by rule."""
    accepted = {rule for rule, reason in revision.accepted.items() if reason.strip()}
    if STILL_IN_USE in accepted:
        accepted |= ROLLOUT
    return {rule: what for rule, what in revision.refused.items() if rule not in accepted}


def describe_refusal(revision: Revision) -> list[str]:
    """What stands against applying a revision, one line for each; empty if nothing does."""
    refused = [f"{rule}: {what}" for rule, what in open_refusals(revision).items()]
    return [*refused, *(f"{FILL_IN}{place.what}" for place in revision.unfilled)]


def explain_refusals(refused: Iterable[Revision]) -> list[str]:
    """What stands against revisions, and what to do about each."""
    lines = []
    for revision in refused:
        rules = open_refusals(revision)
        lines.append(f"{revision.path.name}:")
        lines += [f"    {line}" for line in describe_refusal(revision)]
        if revision.unfilled:
            lines.append(f"Fill in what is marked in {revision.path.name}, without the raise.")
        if UNPROVED in rules:
            lines.append(f"Correct {revision.path.name}.")
        elif rules:
            lines.append(how_to_accept(revision, rules))
    return [*lines, "When it is changed, have it looked at again: just db-migrate"]


def how_to_accept(revision: Revision, rules: Iterable[str]) -> str:
    """The line with which a file accepts what is unsafe in it."""
    reasons = {**dict.fromkeys(rules, ""), **revision.accepted}
    pairs = ", ".join(f'"{rule}": {quoted(reason)}' for rule, reason in sorted(reasons.items()))
    return (
        f"Change it, or write the reason why it is fine into {revision.path.name}, beside "
        "down_revision:\n    accepted = {" + pairs + "}"
    )


def record_refusal(path: Path, rules: Mapping[str, str]) -> None:
    """Writes into a new revision file why it is refused."""
    source = path.read_text(encoding="utf-8")
    lines = source.splitlines(keepends=True)
    ends = [node.end_lineno or 0 for node in ast.parse(source).body if _names(node) & HEADER]
    pairs = "".join(f"    {rule!r}: {what!r},\n" for rule, what in rules.items())
    lines.insert(max(ends), "refused = {\n" + pairs + "}\n")
    path.write_text("".join(lines), encoding="utf-8")
    command = [sys.executable, "-m", "ruff", "format", "--quiet", str(path)]
    subprocess.run(command, check=False)


@contextmanager
def refused_unless_proved(paths: Collection[Path]) -> Iterator[None]:
    """Records with new files that the block could not try them to the end, if it can't."""
    try:
        yield
    except BaseException as error:
        what = str(error).strip().partition("\n")[0] or type(error).__name__
        for path in paths:
            record_refusal(path, {UNPROVED: what})
        raise


def without_refusal(source: str) -> str:
    """A revision file's text without the record; nothing else changes."""
    lines = source.splitlines(keepends=True)
    for node in reversed(ast.parse(source).body):
        if "refused" in _names(node):
            del lines[node.lineno - 1 : node.end_lineno]
    return "".join(lines)


def _names(node: ast.stmt) -> set[str]:
    """The names that a statement assigns to."""
    match node:
        case ast.Assign(targets=targets):
            return {target.id for target in targets if isinstance(target, ast.Name)}
        case ast.AnnAssign(target=ast.Name(id=name)):
            return {name}
    return set()


def quoted(text: str) -> str:
    """A literal as the formatter would write it."""
    return f'"{text}"' if text.isprintable() and not set('"\\') & set(text) else repr(text)
