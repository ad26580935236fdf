"""Renamed tables and columns: to a comparison they look like one dropped and another one added.

Which it is, the models say (`info={"renamed_from": "old"}`), the options of `just db-migrate`, or
the person at the terminal. Without an answer nothing is written.
"""

import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from alembic.util import CommandError
from sqlalchemy import MetaData

from app.migrate.dump import Schema, parts

# Gets an old name and those that it may have now; answers with one of these, or none.
Ask = Callable[[str, Sequence[str]], str | None]
Table = tuple[str, str]  # schema and name


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


@dataclass(frozen=True)
class Said:
    """What was said about renames before anybody is asked: old names to new ones, and old names."""

    renamed: dict[str, str] = field(default_factory=dict)
    dropped: frozenset[str] = frozenset()
    hinted: dict[str, str] = field(default_factory=dict)


def what_was_said(renames: Sequence[str], drops: Sequence[str], metadata: MetaData) -> Said:
    """Reads `--rename old:new`, `--drop old`, and the models' hints.

    Raises:
        CommandError: an option is not written like that.
    """
    renamed = {}
    for rename in renames:
        old, _, new = rename.partition(":")
        if not old or not new:
            raise CommandError(
                f"--rename {rename} is not understood. Write --rename old_table:new_table, or "
                "--rename table.old_column:new_column"
            )
        renamed[old] = new.rpartition(".")[2]
    hinted = {}
    for table in metadata.tables.values():
        key = (table.schema or "public", table.name)
        for was in _names(table.info.get("renamed_from")):
            hinted[_shown((key[0], was))] = table.name
        for column in table.columns:
            for was in _names(column.info.get("renamed_from")):
                hinted[f"{_shown(key)}.{was}"] = column.name
    return Said(renamed, frozenset(drops), hinted)


def find_renames(before: Schema, after: Schema, said: Said, ask: Ask | None) -> list[Rename]:
    """The renames that lead from the history to the models, tables first.

    Args:
        ask: Asks somebody about what was not said; None where nobody can be asked.

    Raises:
        CommandError: something was said of what is not there, or was not said.
    """
    old, new = _tables(before), _tables(after)
    renames: list[Rename] = []
    gone: set[str] = set()
    unsaid: dict[str, list[str]] = {}
    claimed = {*said.renamed.values(), *said.hinted.values()}

    def decide(name: str, likely: Sequence[str], possible: Collection[str]) -> str | None:
        gone.add(name)
        if name in said.dropped:
            return None
        for answers in (said.renamed, said.hinted):
            if answers.get(name) in possible:
                return answers[name]
        candidates = [new for new in likely if new not in claimed]
        if candidates and ask is None:
            unsaid[name] = candidates
        return ask(name, candidates) if candidates and ask else None

    for table in sorted(old.keys() - new.keys()):
        added = {other[1]: new[other] for other in new.keys() - old.keys() if other[0] == table[0]}
        likely = [name for name in sorted(added) if _is_alike(old[table], added[name])]
        elsewhere = [
            _shown(other)
            for other in sorted(new.keys() - old.keys())
            if other[1] == table[1] and other not in {(table[0], name) for name in likely}
        ]
        if elsewhere and _shown(table) not in said.dropped:
            raise CommandError(_explain_move(table, elsewhere[0]))
        target = decide(_shown(table), likely, added)
        if target:
            renames.append(Rename(table, table[1], target, is_column=False))
            old[(table[0], target)] = old.pop(table)
    for table in sorted(old.keys() & new.keys()):
        columns = new[table].keys() - old[table].keys()
        for column in sorted(old[table].keys() - new[table].keys()):
            text = old[table][column]
            likely = sorted(columns, key=lambda name: (new[table][name] != text, name))
            target = decide(f"{_shown(table)}.{column}", likely, columns)
            if target:
                renames.append(Rename(table, column, target))
                columns -= {target}
    if unsaid:
        raise CommandError(_explain_unsaid(unsaid))
    done = {_shown(rename.table) + f".{rename.old}" * rename.is_column for rename in renames}
    if useless := sorted((said.renamed.keys() - done) | (said.dropped - gone)):
        raise CommandError(
            f"Not renamed or dropped: {', '.join(useless)}. Both options want a name that only "
            "the history has, and a rename leads to one that only the models have: "
            "--rename table:new, --rename table.column:new, --drop table.column"
        )
    return renames


def dropped_tables(
    before: Schema, after: Schema, said: Said, renames: Sequence[Rename]
) -> set[Table]:
    """The tables that only the history has, but for those that were renamed or said to be dropped."""
    gone = _tables(before).keys() - _tables(after).keys()
    renamed = {rename.table for rename in renames if not rename.is_column}
    return {table for table in gone - renamed if _shown(table) not in said.dropped}


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


def _names(hint: str | Sequence[str] | None) -> Sequence[str]:
    """The names before: several, if something was renamed more than once."""
    return [hint] if isinstance(hint, str) else hint or []


def _tables(schema: Schema) -> dict[Table, dict[str, str]]:
    found: dict[Table, dict[str, str]] = {}
    for name, text in schema.items():
        if name.kind in {"table", "column"}:
            columns = found.setdefault(parts(name.table), {})
            if name.kind == "column":
                columns[parts(name.name)[-1]] = text
    return found


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
        f"{_shown(table)} is gone and {target} is new. If that is the same table, with its rows, "
        "move it by hand: cd backend && uv run alembic revision -m MESSAGE, with\n"
        f'    op.execute("ALTER TABLE {_shown(table)} SET SCHEMA {schema}")\n'
        f"If it is another one: just db-migrate --drop {_shown(table)}"
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


def _shown(table: Table) -> str:
    return table[1] if table[0] == "public" else f"{table[0]}.{table[1]}"
