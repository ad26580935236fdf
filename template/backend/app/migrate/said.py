"""What is said about renames before anybody is asked: by hints in the models and by options."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from alembic.util import CommandError
from sqlalchemy import MetaData

Table = tuple[str, str]  # schema and name
Place = tuple[Table, str]  # and a column, or nothing: the table itself
Tables = Mapping[Table, Mapping[str, str]]  # with the columns' definitions
Pair = tuple[str, str]  # an old name and a new one


@dataclass(frozen=True)
class Said:
    """What was said about renames before anybody is asked.

    The models' hints are about their own schema or table: pairs of an old name and a new one.
    """

    renamed: Mapping[str, str] = field(default_factory=dict)
    dropped: frozenset[str] = frozenset()
    tables: Mapping[str, Sequence[Pair]] = field(default_factory=dict)
    columns: Mapping[Table, Sequence[Pair]] = field(default_factory=dict)


def what_was_said(renames: Sequence[str], drops: Sequence[str], metadata: MetaData) -> Said:
    """Reads `--rename old:new`, `--drop old`, and the models' hints.

    Raises:
        CommandError: an option is not written like that, or a hint is about another table.
    """
    renamed = {}
    for rename in renames:
        old, _, new = rename.partition(":")
        if not old or not new:
            raise CommandError(
                f"--rename {rename} is not understood. Write --rename old_table:new_table, or "
                "--rename table.old_column:new_column"
            )
        if old in renamed:
            raise CommandError(f"Two options rename {old}. Leave the one that is right.")
        renamed[old] = new
    tables: dict[str, list[Pair]] = {}
    columns: dict[Table, list[Pair]] = {}
    for table in metadata.tables.values():
        key = (table.schema or "public", table.name)
        before = [*_names(table.info.get("renamed_from"))]
        own = {name.rpartition(".")[2] for name in [table.name, *before]}
        tables.setdefault(key[0], []).extend((was, key[1]) for was in before)
        for column in table.columns:
            for was in _names(column.info.get("renamed_from")):
                place, _, name = was.rpartition(".")
                if place and place.rpartition(".")[2] not in own:
                    raise CommandError(
                        f"{shown(key)}.{column.name} is said to have been {was}, in another table. "
                        "Values don't move between tables by a rename: take that renamed_from out, "
                        "and fill the new column with backfill(…) in a revision of its own."
                    )
                columns.setdefault(key, []).append((name, column.name))
    return Said(renamed, frozenset(drops), tables, columns)


def places_of_options(
    said: Said, old: Tables, new: Tables
) -> tuple[dict[Place, str], set[Place], list[str]]:
    """The tables and columns of the history that options mean: renamed, dropped, and no such thing.

    Raises:
        CommandError: an option may mean several.
    """
    renames: dict[Place, str] = {}
    drops: set[Place] = set()
    models = _now_called(said, old, new)
    useless = []
    for name, target in [*said.renamed.items(), *((name, "") for name in sorted(said.dropped))]:
        owner, _, last = target.rpartition(".")
        found = [
            place
            for place in _places(name, old, models)
            if _can_be(place, last, new, models) and owner in {"", *_owners(place, models)}
        ]
        if len(found) > 1:
            forms = " or ".join(map(shown_place, found))
            raise CommandError(f"{name} is in several tables: say which one it is, {forms}.")
        if not found:
            useless.append(name)
        elif target:
            renames[found[0]] = last
        else:
            drops.add(found[0])
    return renames, drops, useless


def _now_called(said: Said, old: Tables, new: Tables) -> dict[Table, Table]:
    """The tables that have another name in the models, as far as it was said."""
    hinted = [
        ((schema, was), (schema, now))
        for schema, pairs in said.tables.items()
        for was, now in pairs
    ]
    chosen = [
        (table, (table[0], said.renamed[shown(table)].rpartition(".")[2]))
        for table in old
        if shown(table) in said.renamed
    ]
    return {was: now for was, now in [*hinted, *chosen] if was in old and now in new}


def _places(name: str, old: Tables, models: Mapping[Table, Table]) -> list[Place]:
    """What a name may mean: a table, a column of a table, or a column alone."""
    tables: list[Place] = [(table, "") for table in old if shown(table) == name]
    columns = [(table, column) for table in old for column in old[table]]
    of_tables = [
        (table, column)
        for table, column in columns
        if name in {f"{owner}.{column}" for owner in _owners((table, column), models)}
    ]
    return tables or of_tables or [place for place in columns if place[1] == name]


def _can_be(place: Place, target: str, new: Tables, models: Mapping[Table, Table]) -> bool:
    """Whether the models have the new name; of what is dropped, whether they lack the old one."""
    table, column = place
    if not column:
        return (table[0], target) in new if target else table not in new
    columns = new.get(models.get(table, table), {})
    return target in columns if target else column not in columns


def _owners(place: Place, models: Mapping[Table, Table]) -> set[str]:
    """What may stand before a name: a column's table by either name, a table's schema."""
    table, column = place
    return {shown(table), shown(models.get(table, table))} if column else {table[0]}


def explain_useless(names: Collection[str]) -> str:
    return (
        f"Not renamed or dropped: {', '.join(sorted(names))}. Both options want a name that only "
        "the history has, and a rename leads to one that only the models have: "
        "--rename table:new, --rename table.column:new, --drop table.column"
    )


def _names(hint: str | Sequence[str] | None) -> Sequence[str]:
    """The names before: several, if something was renamed more than once."""
    return [hint] if isinstance(hint, str) else hint or []


def shown(table: Table) -> str:
    return table[1] if table[0] == "public" else f"{table[0]}.{table[1]}"


def shown_place(place: Place) -> str:
    """A table or a column as the options name it."""
    table, column = place
    return f"{shown(table)}.{column}" if column else shown(table)
