"""Whether something is refused and not answered, when `just db-migrate` has nothing to write."""

from collections.abc import Mapping
from itertools import groupby
from textwrap import indent

from alembic.util import CommandError

from app.migrate.fill_in import explain_places
from app.migrate.history import heads, read_revisions
from app.migrate.lift import lift_refusals
from app.migrate.refusal import OR_UNDO, describe_refusal, explain_refusals
from app.migrate.replay import replay_history
from app.migrate.report import Outcome, failed
from app.migrate.revision_file import Revision
from app.migrate.shared import not_known_to_be_shared
from app.migrate.squawk import NoSquawkError
from app.migrate.unshared import lint_unshared


def refuse_unfilled(revisions: Mapping[str, Revision]) -> None:
    """Refuses to compare with a history that can't be applied until somebody fills it in.

    Raises:
        CommandError: names the files and the places.
    """
    unfilled = [
        revision
        for revision in revisions.values()
        if any(place.function == "upgrade" for place in revision.unfilled)
    ]
    if unfilled:
        places = [place for revision in unfilled for place in explain_places(revision)]
        lines = ["Fill in what is marked, then run: just db-check", *places, OR_UNDO]
        raise CommandError("\n".join(lines))


def refuse_unanswered() -> None:
    """Refuses to go on while a revision is refused that nobody else has; looks at it again first.

    Raises:
        CommandError: names what is left to do.
    """
    revisions = read_revisions()
    unshared = not_known_to_be_shared(revisions)
    refused = [r for name, r in revisions.items() if name in unshared and describe_refusal(r)]
    if not refused:
        return
    outcome = _look_again(revisions, refused)
    if outcome.outcome == "passed":
        return
    lines = [f"Not answered since just db-migrate refused it: {outcome.detail}."]
    if outcome.findings:
        for fix, found in groupby(outcome.findings, lambda finding: finding.fix):
            lines += [*(indent(finding.message, "    ") for finding in found), fix]
    else:
        lines += explain_refusals(refused)
    raise CommandError("\n".join([*lines, OR_UNDO]))


def _look_again(revisions: dict[str, Revision], refused: list[Revision]) -> Outcome:
    if any(revision.unfilled for revision in refused):
        return failed("there are places to fill in", [])
    (head,) = heads(revisions)
    outcome = replay_history(revisions, head)
    if outcome.outcome == "passed":
        try:
            outcome = lint_unshared(revisions, head, [revision.revision for revision in refused])
        except NoSquawkError as error:
            return failed(f"it can't be looked at again ({error})", [])
    if outcome.outcome == "passed":
        lift_refusals(refused, committed_too=True)
    return outcome
