"""Takes a refusal back: what was refused was changed since, and nothing in it is unsafe any more."""

from collections.abc import Sequence
from contextlib import suppress

from alembic.util import CommandError

from app.migrate.git import revision_files_at
from app.migrate.refusal import open_refusals, without_refusal
from app.migrate.report import Finding
from app.migrate.revision_file import Revision


def lift_refusals(revisions: Sequence[Revision], committed_too: bool = False) -> list[Finding]:
    """Takes the record out of files in which nothing unsafe is left; tells where it stays.

    Args:
        committed_too: Also where the newest commit has the file like this. A check that passed in
            CI would otherwise hide what production refuses.
    """
    committed: set[bytes] = set()
    with suppress(CommandError):  # no git, or no commit
        committed = {*revision_files_at("HEAD").values()}
    findings = []
    for revision in filter(open_refusals, revisions):
        source = revision.path.read_bytes()
        if source in committed and not committed_too:
            message = (
                f"{revision.path.name}: nothing in it is unsafe, but it says that it is refused."
            )
            findings.append(Finding(message, "Take that out with: just db-migrate"))
        else:
            revision.path.write_bytes(without_refusal(source.decode()).encode())
    return findings
