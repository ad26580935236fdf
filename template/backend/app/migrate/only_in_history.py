"""What revisions made by hand and no model has: not a change of the models that a revision lacks."""

from app.migrate.dump import Name, Schema, parts
from app.migrate.report import Finding

FIX = (
    "Add it to the models, as the revisions make it. If it is to go, have a revision drop it: "
    "just db-migrate"
)


def only_in_history(history: Schema, models: Schema) -> dict[str, Finding]:
    """The tables and columns that only the history has, by what would be done about them."""
    found = {}
    for name in sorted(history.keys() - models.keys()):
        table = parts(name.table)[-1] if name.table else ""
        if name.kind == "table":
            change = f"drop table {table}"
        elif name.kind == "column" and Name("table", name.table, name.table) in models:
            change = f"{table} drop {parts(name.name)[-1]}"
        else:
            continue
        found[change] = Finding(f"The revisions add the {name}, but no model has it.", FIX)
    return found
