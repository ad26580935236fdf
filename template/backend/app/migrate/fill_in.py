"""A place in a revision that somebody has to fill in."""

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import MigrateOperation

from app.migrate.drift import Difference
from app.migrate.dump import parts
from app.migrate.revision_file import FILL_IN, Revision


class FillInOp(MigrateOperation):
    """A place in a revision that somebody has to fill in; until then the revision fails."""

    def __init__(self, difference: Difference) -> None:
        self.difference = difference

    def to_diff_tuple(self) -> tuple[str, str]:
        return ("fill in", str(self.difference))


class BackfillOp(FillInOp):
    """The place where somebody has to say what a new column is in the rows that are there."""


def explain_places(revision: Revision) -> list[str]:
    """Each place of a revision that is to be filled in: where it is, and with what."""
    lines = revision.path.read_text(encoding="utf-8").splitlines()
    shown = []
    for place in revision.unfilled:
        above = lines[place.line - 2].strip()
        if above.startswith("# backfill("):
            needed = f"the values of {place.what} in the rows that are there"
        elif place.function == "upgrade":
            needed = f"what leads to the new {place.what}"
        else:
            needed = f"what leads back to the old {place.what}"
        shown.append(f"{revision.path.name}, line {place.line}, in {place.function}(): {needed}")
    return shown


@renderers.dispatch_for(FillInOp)
def _render_fill_in(context: AutogenContext, op: FillInOp) -> list[str]:
    what = [f"# {line}" for line in str(op.difference).splitlines()]
    message = f"{FILL_IN}{op.difference.name}"
    return [
        "# Write what leads from - to +, then remove this:",
        *what,
        f"raise NotImplementedError({message!r})",
    ]


@renderers.dispatch_for(BackfillOp)
def _render_backfill(context: AutogenContext, op: BackfillOp) -> list[str]:
    context.imports.add("from app.migrate.backfill import backfill")
    name = op.difference.name
    schema, table = parts(name.table)
    values, where = (_quoted(f"{name.name} {rest}") for rest in ("= …", "IS NULL"))
    options = f", schema={_quoted(schema)}" if schema != "public" else ""
    message = f"{FILL_IN}{name}"
    return [
        f"# The rows that are there need a {name.name}. Write it in place of …, and remove the raise:",
        f"# backfill({_quoted(table)}, {values}, where={where}{options})",
        f"raise NotImplementedError({message!r})",
    ]


def _quoted(text: str) -> str:
    """A literal as the formatter would write it; it leaves comments alone."""
    return repr(text) if '"' in text else f'"{text}"'
