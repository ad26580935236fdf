"""A place in a revision that somebody has to fill in."""

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import MigrateOperation

from app.migrate.drift import Difference


class FillInOp(MigrateOperation):
    """A place in a revision that somebody has to fill in; until then the revision fails."""

    def __init__(self, difference: Difference) -> None:
        self.difference = difference

    def to_diff_tuple(self) -> tuple[str, str]:
        return ("fill in", str(self.difference))


@renderers.dispatch_for(FillInOp)
def _render_fill_in(context: AutogenContext, op: FillInOp) -> list[str]:
    what = [f"# {line}" for line in str(op.difference).splitlines()]
    message = f"Fill in: {op.difference.name}"
    return [
        "# Write what leads from - to +, then remove this:",
        *what,
        f"raise NotImplementedError({message!r})",
    ]
