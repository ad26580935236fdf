"""Steps down by number in a history in which branches were merged."""

import re

from alembic.util import CommandError

from app.migrate.history import read_revisions
from app.migrate.status import applied_revisions


def past_merge(target: str) -> str:
    """A target that undoes a merge revision alone, where steps down by number end at one.

    Alembic does not know which of the branches to go down. Both stay: only the merge is undone.

    Raises:
        CommandError: the steps would go on below a merge, or there is more than one way down.
    """
    if not re.fullmatch(r"-\d+", target):
        return target
    revisions = read_revisions()
    if all(len(revision.parents) < 2 for revision in revisions.values()):
        return target
    applied = applied_revisions()
    if len(applied) > 1:
        raise CommandError(
            f"The database is at {' and '.join(applied)}, beside each other: {target} could be "
            "either. Name the revision to go down to: just db-downgrade REVISION"
        )
    name = next(iter(applied), "")
    for left in range(-int(target) - 1, -1, -1):
        parents = revisions[name].parents if name in revisions else ()
        if len(parents) > 1 and left:
            raise CommandError(
                f"{revisions[name].path.name} is a merge revision, and there are "
                f"{len(parents)} ways down from it. Name the revision to go down to: "
                f"just db-downgrade {parents[0]}"
            )
        if len(parents) > 1:
            return parents[0]
        name = next(iter(parents), "")
    return target
