"""What is said about a rename is about its own table, and is done or refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conftest import Project
from tests.test_autogenerate import register

# Tables with their columns in the history, and in the models with what they are said to have been,
# as "new<old"; options; and the renames in their order, or a part of the refusal.
Case = tuple[dict[str, str], dict[str, str], list[str], list[str] | str]
CASES: dict[str, Case] = {
    "the old name is taken again": (
        {"w": "id size"}, {"w": "id width<size size"}, [], ["w rename size to width"],
    ),
    "that was done": ({"w": "id size width"}, {"w": "id width<size size"}, [], []),
    "it was done and the old name is gone": ({"w": "id width"}, {"w": "id width<size"}, [], []),
    "a chain": (
        {"w": "id a b"}, {"w": "id b<a c<b"}, [], ["w rename b to c", "w rename a to b"],
    ),
    "a chain that was done": ({"w": "id b c"}, {"w": "id b<a c<b"}, [], []),
    "a swap": ({"w": "id a b"}, {"w": "id a<b b<a"}, [], "w.b to w.a to w.b"),
    "a circle": ({"w": "id a b c"}, {"w": "id a<b b<c c<a"}, [], "swap their names"),
    "two from one": ({"w": "id a"}, {"w": "id x<a y<a"}, [], "w.a is now x and w.a is now y"),
    "one from two": ({"w": "id a b"}, {"w": "id c<a+b"}, [], "w.a is now c and w.b is now c"),
    "one from two of which one stays": (
        {"w": "id a b"}, {"w": "id a c<a+b"}, [], ["w rename b to c"],
    ),
    "a typing mistake": ({"w": "id note"}, {"w": "id title<nmae"}, [], "--rename w.note:title"),
    "a hint in another table": (
        {"w": "id note", "g": "id x"}, {"w": "id title", "g": "id title<x"}, [],
        "--rename w.note:title",
    ),
    "an option for another table": (
        {"w": "id note", "g": "id x"}, {"w": "id title", "g": "id title"}, ["g.x:title"],
        "--rename w.note:title",
    ),
    "a bare name of another table": (
        {"w": "id note", "g": "id x"}, {"w": "id title", "g": "id title"}, ["x:title"],
        "--rename w.note:title",
    ),
    "a bare name": ({"w": "id note"}, {"w": "id title"}, ["note:title"], ["w rename note to title"]),
    "a bare name of two tables": (
        {"w": "id x", "g": "id x"}, {"w": "id title", "g": "id title"}, ["x:title"],
        "say which one it is, w.x or g.x",
    ),
    "a new name in another table": (
        {"w": "id note", "g": "id"}, {"w": "id title", "g": "id title"}, ["w.note:g.title"],
        "w.note",
    ),
    "an option for an old name that is taken again": (
        {"w": "id size"}, {"w": "id width size"}, ["w.size:width"], ["w rename size to width"],
    ),
    "an option for a name that was there": (
        {"w": "id a name"}, {"w": "id b name"}, ["w.a:name"], "Not renamed or dropped: w.a",
    ),
    "an option against a hint": (
        {"w": "id a b"}, {"w": "id c<a d"}, ["w.b:c", "--drop w.a"], ["w rename b to c"],
    ),
    "a dropped one with a hint": ({"w": "id size"}, {"w": "id width<size"}, ["--drop w.size"], []),
    "a table whose name is taken again": (
        {"w": "id a"}, {"g<w": "id a", "w": "id z"}, [], ["rename table w to g"],
    ),
    "a chain of tables": (
        {"w": "id a", "g": "id q"}, {"g<w": "id a", "t<g": "id q"}, [],
        ["rename table g to t", "rename table w to g"],
    ),
    "a swap of tables": (
        {"w": "id a", "g": "id q"}, {"g<w": "id a", "w<g": "id q"}, [], "w to g to w",
    ),
    "a column of a renamed table": (
        {"w": "id a"}, {"g<w": "id b<a"}, [], ["rename table w to g", "g rename a to b"],
    ),
    "a column by its table's old name": (
        {"w": "id a"}, {"g": "id b"}, ["w:g", "w.a:b"], ["rename table w to g", "g rename a to b"],
    ),
    "a column by its table's new name": (
        {"w": "id a"}, {"g": "id b"}, ["w:g", "g.a:b"], ["rename table w to g", "g rename a to b"],
    ),
    "a column of another table": ({"w": "id a"}, {"w": "id b<g.a"}, [], "in another table"),
    "tables of the same name in two schemas": (
        {"w": "id a", "s.w": "id a"}, {"w": "id b", "s.w": "id b"}, ["s.w.a:b", "w.a:b"],
        ["w rename a to b", "w rename a to b"],
    ),
    "a table in a schema": ({"s.w": "id a"}, {"s.g": "id a"}, ["s.w:s.g"], ["rename table w to g"]),
}  # fmt: skip
FIND = """
import json, sys
from alembic.util import CommandError
from sqlalchemy import Column, Integer, MetaData, Table
from app.migrate.dump import Name
from app.migrate.renames import find_renames
from app.migrate.said import what_was_said

def schema(tables):
    found = {}
    for table, columns in tables.items():
        name = table.partition("<")[0]
        name = name if "." in name else f"public.{name}"
        found[Name("table", name, name)] = ""
        for column in columns.split():
            found[Name("column", name, column.partition("<")[0])] = "integer"
    return found

def info(text):
    was = text.partition("<")[2]
    return {"renamed_from": was.split("+") if "+" in was else was} if was else {}

def find(before, after, options):
    metadata = MetaData()
    for table, columns in after.items():
        place, _, name = table.partition("<")[0].rpartition(".")
        items = [Column(c.partition("<")[0], Integer, info=info(c)) for c in columns.split()]
        Table(name, metadata, *items, schema=place or None, info=info(table))
    renames = [option for option in options if ":" in option]
    drops = [option.removeprefix("--drop ") for option in options if ":" not in option]
    try:
        said = what_was_said(renames, drops, metadata)
        return [str(rename) for rename in find_renames(schema(before), schema(after), said, None)]
    except CommandError as error:
        return str(error)

print(json.dumps([find(*case[:3]) for case in json.loads(sys.argv[1])]))
"""


def test_what_is_said_is_done_or_refused(project: Project, subtests: pytest.Subtests) -> None:
    arguments = json.dumps(list(CASES.values()))
    asked = project.run("uv", "run", "python", "-c", FIND, arguments, cwd=project.backend).ok()
    found: list[Any] = json.loads(asked.out)
    for (name, (_, _, _, expected)), answer in zip(CASES.items(), found, strict=True):
        with subtests.test(name):
            if isinstance(expected, str):
                assert expected in answer
            else:
                assert answer == expected


WIDGET = """\
from sqlmodel import Field, SQLModel


class Widget(SQLModel, table=True):
    id: int | None = Field(default=None, primary_key=True)
"""
HINTED = """\
    {name}: int | None = Field(default=None, sa_column_kwargs={{"info": {{"renamed_from": "{old}"}}}})
"""


def test_values_follow_a_hint_although_the_old_name_is_used_again(project: Project) -> None:
    plain = "".join(f"    {name}: int | None = None\n" for name in ("size", "a", "b", "x", "y"))
    register(project, WIDGET + plain, "Widget", module="widget")
    project.migrate()
    project.just("db-upgrade").ok()
    with project.connect() as connection:
        connection.execute("INSERT INTO widget (size, a, b, x, y) VALUES (1, 2, 3, 4, 5)")
    hints = [("width", "size"), ("b", "a"), ("c", "b")]
    hinted = "".join(HINTED.format(name=name, old=old) for name, old in hints)
    rest = "    size: int | None = None\n    x: int | None = None\n    y: int | None = None\n"
    project.write("backend/app/models/widget.py", WIDGET + hinted + rest)
    project.migrate()
    project.just("db-upgrade").ok()
    with project.connect() as connection:
        rows = connection.execute("SELECT width, size, b, c, x, y FROM widget").fetchall()
    assert rows == [(1, None, 2, 3, 4, 5)]
    assert "Nothing to do" in project.just("db-migrate").ok().out

    swapped = "".join(HINTED.format(name=name, old=old) for name, old in [("x", "y"), ("y", "x")])
    project.write(
        "backend/app/models/widget.py", WIDGET + hinted + "    size: int | None = None\n" + swapped
    )
    before = project.revisions()
    project.just("db-migrate").refused("widget.y to widget.x to widget.y", "by hand")
    assert project.revisions() == before


def test_a_table_s_name_may_be_used_again_for_another_one(project: Project) -> None:
    register(project, WIDGET + "    size: int | None = None\n", "Widget", module="widget")
    project.migrate()
    project.just("db-upgrade").ok()
    with project.connect() as connection:
        connection.execute("INSERT INTO widget (size) VALUES (1)")
    old = WIDGET.replace("class Widget", "class Gadget").replace(
        "    id:", '    __table_args__ = {"info": {"renamed_from": "widget"}}\n\n    id:'
    )
    new = WIDGET.partition("\n\n\n")[2] + "    weight: int | None = None\n"
    project.write("backend/app/models/widget.py", f"{old}    size: int | None = None\n\n\n{new}")
    project.replace("backend/app/db/base.py", "import Widget ", "import Gadget, Widget ")
    project.migrate()
    project.just("db-upgrade").ok()
    with project.connect() as connection:
        assert connection.execute("SELECT id, size FROM gadget").fetchall() == [(1, 1)]
        connection.execute("INSERT INTO widget (weight) VALUES (2)")
        connection.execute("INSERT INTO gadget (size) VALUES (2)")
        assert connection.execute("SELECT weight FROM widget").fetchall() == [(2,)]
        assert connection.execute("SELECT id, size FROM gadget").fetchall() == [(1, 1), (2, 2)]
    assert "Nothing to do" in project.just("db-migrate").ok().out
