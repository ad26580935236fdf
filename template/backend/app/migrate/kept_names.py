"""Names of constraints and indexes from before the models' naming convention: they are kept.

Nothing depends on them, and a history that was begun elsewhere would get a pile of renames.
"""

from collections.abc import Collection, Mapping
from typing import Any

from app.migrate.drift import renamed_only
from app.migrate.dump import Name, Schema, parts

KINDS = {"PRIMARY KEY": "pk", "UNIQUE": "uq", "FOREIGN KEY": "fk", "CHECK": "ck"}
# What a name is cut to that is too long; SQLAlchemy puts a checksum behind it.
MAX_START = 54
MAX_SHOWN = 3


def kept_names(
    history: Schema,
    models: Schema,
    convention: Mapping[Any, Any],
    renamed: Mapping[tuple[str, str], str],
) -> dict[Name, Name]:
    """What has a name by the convention in the models, and another kind of name in the history.

    Args:
        convention: The models'.
        renamed: The former names of tables that get another one, by schema and new name.

    Returns: The names in the history by those in the models.
    """
    return {
        new: old
        for old, new in renamed_only(history, models)
        if new.kind in {"index", "constraint"}
        and _is_conventional(new, models[new], convention, {parts(new.table)[-1]})
        and not _is_conventional(
            old,
            history[old],
            convention,
            {parts(old.table)[-1], renamed.get(parts(old.table), "")} - {""},
        )
    }


def with_kept_names(models: Schema, history: Schema, kept: Mapping[Name, Name]) -> Schema:
    """The models' schema with the names that the history has."""
    return {kept.get(name, name): history[kept[name]] if name in kept else text
            for name, text in models.items()}  # fmt: skip


def explain_kept_names(kept: Mapping[Name, Name]) -> str:
    """One message for all of them."""
    shown = ", ".join(f"{old.name}, not {new.name}" for new, old in [*kept.items()][:MAX_SHOWN])
    more = f" and {len(kept) - MAX_SHOWN} more" if len(kept) > MAX_SHOWN else ""
    return (
        "The history was begun with other names of constraints and indexes than NAMING_CONVENTION "
        f"in app/db/naming.py gives the models. They stay as they are: {shown}{more}. To have them "
        "renamed, here and in production: just db-migrate --rename-constraints"
    )


def _is_conventional(
    name: Name, definition: str, convention: Mapping[Any, Any], tables: Collection[str]
) -> bool:
    key = next((key for start, key in KINDS.items() if definition.startswith(start)), "ix")
    template = convention.get(key)
    label = parts(name.name)[-1]
    for table in tables:
        # PostgreSQL's own names begin with the table.
        start, mark, rest = str(template or "%(table_name)s_…").partition("%(table_name)s")
        start = f"{start}{table}{rest.partition('%(')[0].rstrip('…')}" if mark else start
        start = start.partition("%(")[0]
        is_whole = template is not None and "%(" not in rest
        if label == start or (not is_whole and label[:MAX_START].startswith(start[:MAX_START])):
            return True
    return False
