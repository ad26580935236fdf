"""Renamed tables and columns: to a comparison they look like one dropped and another one added.

Which it is, the models say (`info={"renamed_from": "old"}`), the options of `just db-migrate`, or
the person at the terminal. Without an answer nothing is written.
"""

import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from alembic.util import CommandError

from app.migrate.dump import Schema, parts
from app.migrate.said import (
    Pair,
    Place,
    Said,
    Table,
    explain_useless,
    places_of_options,
    shown,
    shown_place,
)

# Gets an old name and those that it may have now; answers with one of these, or none.
Ask = Callable[[str, Sequence[str]], str | None]


@dataclass(frozen=True)
class Rename:
    """One table, or one column of a table, that has another name in the models."""

    table: Table
    old: str
    new: str
    is_column: bool = True

    def __str__(self) -> str:
        if self.is_column:
            return f"{self.table[1]} rename {self.old} to {self.new}"
        return f"rename table {self.old} to {self.new}"

    def operation(self, backwards: bool = False) -> ops.MigrateOperation:
        """Alembic's operation for it."""
        old, new = (self.new, self.old) if backwards else (self.old, self.new)
        schema = None if self.table[0] == "public" else self.table[0]
        if self.is_column:
            return ops.AlterColumnOp(self.table[1], old, schema=schema, modify_name=new)
        return ops.RenameTableOp(old, new, schema=schema)


def find_renames(before: Schema, after: Schema, said: Said, ask: Ask | None) -> list[Rename]:
    """The renames that lead from the history to the models, tables first, in an order that works.

    Args:
        ask: Asks somebody about what was not said; None where nobody can be asked.

    Raises:
        CommandError: something was said of what is not there, or in two ways, or was not said.
    """
    old, new = _tables(before), _tables(after)
    renames: list[Rename] = []
    unsaid: dict[str, list[str]] = {}
    options, drops, useless = places_of_options(said, old, new)

    def decide(place: Place, likely: Sequence[str]) -> str | None:
        if place in drops:
            return None
        name = shown_place(place)
        if likely and ask is None:
            unsaid[name] = [*likely]
        return ask(name, likely) if likely and ask else None

    for schema in sorted({schema for schema, _ in old}):
        here, there = ({name for place, name in side if place == schema} for side in (old, new))
        chosen = [(name, to) for ((place, name), column), to in options.items()
                  if place == schema and not column]  # fmt: skip
        hints = [(was, now) for was, now in said.tables.get(schema, ())
                 if ((schema, was), "") not in drops]  # fmt: skip
        for was, now in in_order(chosen, hints, here, there, ""):
            renames.append(Rename((schema, was), was, now, is_column=False))
            old[(schema, now)] = old.pop((schema, was))
    for table in sorted(old.keys() - new.keys()):
        added = {other[1]: new[other] for other in new.keys() - old.keys() if other[0] == table[0]}
        likely = [name for name in sorted(added) if _is_alike(old[table], added[name])]
        elsewhere = [
            shown(other)
            for other in sorted(new.keys() - old.keys())
            if other[1] == table[1] and other not in {(table[0], name) for name in likely}
        ]
        if elsewhere and (table, "") not in drops:
            raise CommandError(_explain_move(table, elsewhere[0]))
        if target := decide((table, ""), likely):
            renames.append(Rename(table, table[1], target, is_column=False))
            old[(table[0], target)] = old.pop(table)
    called = {(r.table[0], r.new): r.table for r in renames}
    for table in sorted(old.keys() & new.keys()):
        names = {table, called.get(table, table)}
        chosen = [(c, to) for (place, c), to in options.items() if c and place in names]
        dropped = {column for place, column in drops if column and place in names}
        hints = [pair for pair in said.columns.get(table, ()) if pair[0] not in dropped]
        done = in_order(chosen, hints, old[table], new[table], f"{shown(table)}.")
        renames += [Rename(table, was, now) for was, now in done]
        columns = new[table].keys() - old[table].keys() - {now for _, now in done}
        for column in sorted(old[table].keys() - new[table].keys() - {was for was, _ in done}):
            text = old[table][column]
            likely = sorted(columns, key=lambda name: (new[table][name] != text, name))
            target = None if column in dropped else decide((table, column), likely)
            if target:
                renames.append(Rename(table, column, target))
                columns -= {target}
    if unsaid:
        raise CommandError(_explain_unsaid(unsaid))
    if useless:
        raise CommandError(explain_useless(useless))
    return renames


def in_order(
    chosen: Iterable[Pair], hints: Iterable[Pair], old: Collection[str], new: Collection[str],
    what: str,
) -> list[Pair]:  # fmt: skip
    """What is still to be renamed of what was said, in an order in which each new name is free.

    A hint stays in the model when it is done: both names may be taken again by then.

    Args:
        chosen: What the options say. They go before hints.
        what: What to call a name in a message.

    Raises:
        CommandError: something was said in two ways, or two names are to be swapped.
    """
    chosen = [*chosen]
    waiting = [(was, now) for was, now in hints if was in old and now in new and was != now]
    waiting = [(w, n) for w, n in waiting if all(w != a and n != b for a, b in chosen)] + chosen
    taken, done = {*old}, []
    while ready := [pair for pair in waiting if pair[1] not in taken]:
        was, now = min(ready, key=lambda pair: (pair[0] in new, pair))
        rivals = [
            pair for pair in ready if pair != (was, now) and (pair[0] == was or pair[1] == now)
        ]
        if any((was in new) == (rival[0] in new) for rival in rivals):
            raise CommandError(_explain_rivals([(was, now), *rivals], what))
        done.append((was, now))
        taken = taken - {was} | {now}
        waiting = [pair for pair in waiting if pair[0] != was and pair[1] != now]
    if left := [pair for pair in chosen if pair not in done]:
        raise CommandError(explain_useless([f"{what}{was}" for was, _ in left]))
    after = dict(waiting)
    for was in after:
        circle = [was]
        while circle[-1] in after and after[circle[-1]] not in circle:
            circle.append(after[circle[-1]])
        if after.get(circle[-1]) == was:
            raise CommandError(_explain_circle(circle, what))
    return done


def dropped_tables(
    before: Schema, after: Schema, said: Said, renames: Sequence[Rename]
) -> set[Table]:
    """The tables that only the history has, but for those that were renamed or said to be dropped."""
    gone = _tables(before).keys() - _tables(after).keys()
    renamed = {rename.table for rename in renames if not rename.is_column}
    return {table for table in gone - renamed if shown(table) not in said.dropped}


def ask_at_terminal(old: str, candidates: Sequence[str]) -> str | None:
    """Asks which of the new names the old one has now; Enter means none."""
    for new in candidates:
        print(f"Was {old} renamed to {new}? [y/N]", end=" ", file=sys.stderr, flush=True)
        answer = input()
        if answer.strip().lower() in {"y", "yes"}:
            return new
    return None


@renderers.dispatch_for(ops.RenameTableOp)
def _render_rename(context: AutogenContext, op: ops.RenameTableOp) -> str:
    schema = f", schema={op.schema!r}" if op.schema else ""
    return f"op.rename_table({op.table_name!r}, {op.new_table_name!r}{schema})"


def _tables(schema: Schema) -> dict[Table, dict[str, str]]:
    found: dict[Table, dict[str, str]] = {}
    for name, text in schema.items():
        if name.kind in {"table", "column"}:
            columns = found.setdefault(parts(name.table), {})
            if name.kind == "column":
                columns[parts(name.name)[-1]] = text
    return found


def _explain_rivals(pairs: Sequence[Pair], what: str) -> str:
    said = " and ".join(f"{what}{was} is now {now}" for was, now in pairs)
    return (
        f"It is said twice: {said}. Only one can be. Take the others out of renamed_from in the models"
        ", or say which one with the option --rename OLD:NEW of just db-migrate"
    )


def _explain_circle(names: Sequence[str], what: str) -> str:
    circle = " to ".join(f"{what}{name}" for name in [*names, names[0]])
    return (
        f"By renamed_from, these swap their names: {circle}. As both names are there before and after, "
        "nobody can tell whether that is still to be done, and nothing was written.\n"
        "Swap them by hand, by way of a third name: cd backend && uv run alembic revision -m MESSAGE"
        "\nThen, or if it is done already, take their renamed_from out of the models."
    )


def _explain_unsaid(unsaid: dict[str, list[str]]) -> str:
    lines = [
        f"    {' or '.join(f'--rename {old}:{new}' for new in candidates)} or --drop {old}"
        for old, candidates in unsaid.items()
    ]
    return (
        f"{', '.join(unsaid)}: renamed, or dropped with all values? Run just db-migrate again with "
        "one of the options of each line:\n" + "\n".join(lines)
    )


def _explain_move(table: Table, target: str) -> str:
    schema = target.partition(".")[0] if "." in target else "public"
    return (
        f"{shown(table)} is gone and {target} is new. If that is the same table, with its rows, "
        "move it by hand: cd backend && uv run alembic revision -m MESSAGE, with\n"
        f'    op.execute("ALTER TABLE {shown(table)} SET SCHEMA {schema}")\n'
        f"If it is another one: just db-migrate --drop {shown(table)}"
    )


def _is_alike(old: dict[str, str], new: dict[str, str]) -> bool:
    """Whether at least half of the columns are the same."""
    # A serial column names its sequence, which is named after the table.
    same = [
        name
        for name in old.keys() & new.keys()
        if old[name].partition(" DEFAULT nextval")[0] == new[name].partition(" DEFAULT nextval")[0]
    ]
    return 2 * len(same) >= len(old)
