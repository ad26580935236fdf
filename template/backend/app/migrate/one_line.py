"""Whether the history is one line from a first to a newest revision, and that one on record."""

from collections.abc import Collection, Mapping

from app.core.files import PROJECT_DIR
from app.migrate.history import ancestors, heads
from app.migrate.lost_file import how_to_get_back
from app.migrate.report import Finding
from app.migrate.revision_file import LATEST, Revision


def line_breaks(revisions: Mapping[str, Revision], new: Collection[str]) -> list[Finding]:
    """What keeps the revisions from being one line from the first to the newest.

    Args:
        new: Those that nobody else has. Branches that were merged in the others are a fact.
    """
    findings = [
        Finding(
            f"{revision.path.name} follows revision {parent}, which has no file.",
            how_to_get_back(parent),
        )
        for revision in revisions.values()
        for parent in revision.parents
        if parent not in revisions
    ]
    if findings:
        return findings  # where it is missing there are heads that none of the branches made
    roots = [revision.path.name for revision in revisions.values() if not revision.parents]
    if len(roots) > 1 and any(not revisions[name].parents for name in new):
        message = f"The history has {len(roots)} first revisions: {', '.join(roots)}."
        findings.append(Finding(message, "Give all but the oldest a down_revision by hand."))
    findings += [
        Finding(
            f"{revisions[name].path.name} is a merge revision: the new revisions are not one line.",
            "Delete it, then put this branch's revisions in one line: just db-rebase",
        )
        for name in new
        if len(revisions[name].parents) > 1
    ]
    ends = heads(revisions)
    if len(ends) > 1:
        files = ", ".join(f"{name} ({revisions[name].path.name})" for name in ends)
        message = f"The history has {len(ends)} heads: {files}. Two branches added revisions."
        findings.append(Finding(message, "Put yours after the others: just db-rebase"))
    if not findings:
        reached = {name for end in ends for name in ancestors(revisions, end)}
        circle = sorted(revisions.keys() - (reached if roots else set()))
        if circle:
            message = f"These revisions follow each other in a circle: {', '.join(circle)}."
            findings.append(Finding(message, "Get their files from git as they were."))
    return findings


def wrong_record(recorded: str, head: str, is_there: bool) -> Finding:
    """What to do when latest_revision.txt names another revision than the newest."""
    message = f"{LATEST.relative_to(PROJECT_DIR)} has {recorded or 'nothing'}, the newest revision is {head or 'none'}."
    if head:
        record = f"just db-rebase --onto {head}"
        if recorded and not is_there:
            back = how_to_get_back(recorded)
            return Finding(message, f"{back}\nIf it was deleted on purpose, record that: {record}")
        return Finding(message, f"Record it: {record}")
    return Finding(message, "Delete that file, or write the first revision: just db-migrate")
