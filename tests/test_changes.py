"""Every kind of schema change becomes a revision that leads to the models and back, or is refused.

The page docs/schema-changes.md of the generated project is written from what is seen here:
`just document-changes`.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from psycopg.sql import SQL, Identifier

from tests import quick
from tests.changes import CHANGES, FINGERPRINT, Change, body
from tests.conftest import REPOSITORY, Project, Result, accept, mark_database, render

PAGE = REPOSITORY / "template" / "docs" / "schema-changes.md"
Document = Callable[[Change], None]
OUTCOMES = {
    "generated": "generated",
    "filled in": "generated, but for the values of the rows that are there",
    "asked": "asked, then generated",
    "refused": "refused with its name",
}


class World:
    """A project whose history and database hold the state before every change."""

    def __init__(self, project: Project) -> None:
        self.project = project
        for number in range(len(CHANGES)):
            self.write(number, after=False)
        self.register()
        self.run("migrate", "before").ok()
        self.run("upgrade").ok()

    def run(self, *arguments: str) -> Result:
        argv = ["-m", "app.migrate", *arguments]
        return Result(*quick.run(self.project.env, self.project.backend, argv))

    def write(self, number: int, after: bool) -> None:
        path = self.project.backend / "app" / "models" / f"t{number}.py"
        source = body(CHANGES[number], number, after)
        if source is None:
            path.unlink(missing_ok=True)
        else:
            path.write_text(source)

    def register(self) -> None:
        path = self.project.backend / "app" / "db" / "base.py"
        beginning, mark, _ = path.read_text().partition("# Your models\n")
        lines = [
            f"from app.models.{module.stem} import {name}  # noqa: F401\n"
            for module in sorted(path.parents[1].glob("models/t[0-9]*.py"))
            for name in re.findall(r"^class (\w+)\(SQLModel", module.read_text(), re.MULTILINE)
        ]
        path.write_text(f"{beginning}{mark}{''.join(lines)}\n__all__ = ['metadata']\n")

    def head(self) -> str:
        return (self.project.backend / "alembic/latest_revision.txt").read_text().strip()

    def fingerprint(self, number: int) -> set[str]:
        with self.project.connect() as connection:
            own = f"^t{number}(\\D|$)"
            rows = connection.execute(FINGERPRINT, {"own": own}).fetchall()
        assert all(line is not None for (line,) in rows)
        return {line for (line,) in rows}

    @contextmanager
    def put_back(self) -> Iterator[None]:
        """Has the project and its database as they were before, whatever happens."""
        backend = self.project.backend
        saved = backend.with_name("saved")
        shutil.copytree(backend / "alembic", saved)
        try:
            yield
        finally:
            for number in range(len(CHANGES)):
                self.write(number, after=False)
            self.register()
            self.run("downgrade", (saved / "latest_revision.txt").read_text().strip())
            shutil.rmtree(backend / "alembic")
            saved.rename(backend / "alembic")


@pytest.fixture(scope="module")
def world(
    base_environment: dict[str, str],
    shared: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[World]:
    database = f"changes_{os.getpid()}"
    env = {
        **base_environment,
        "POSTGRES_HOST": "127.0.0.1",
        "POSTGRES_PORT": shared["port"],
        "POSTGRES_USER": "app",
        "POSTGRES_PASSWORD": shared["password"],
        "POSTGRES_DB": database,
    }
    project = Project(render(tmp_path_factory.mktemp("changes") / "project"), env)
    with project.connect(dbname="postgres") as server:
        server.execute(SQL("CREATE DATABASE {}").format(Identifier(database)))
        mark_database(server, database)
        yield World(project)
        server.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(database)))


def numbers(*outcomes: str) -> list[int]:
    return [number for number, change in enumerate(CHANGES) if change.outcome in outcomes]


WRITTEN = numbers("generated", "asked")


def lead_there_and_back(world: World, numbers: list[int]) -> dict[int, list[set[str]]]:
    """Writes the revisions of some changes; the fingerprints before, up, down and up again."""
    seen: dict[int, list[set[str]]] = {number: [] for number in numbers}
    options = []
    for number in numbers:
        world.write(number, after=True)
        options += [option.replace("T#", f"t{number}") for option in CHANGES[number].options]
        seen[number].append(world.fingerprint(number))
    world.register()
    base, known = world.head(), world.project.revisions()
    said = world.run("migrate", *options)
    assert "Warning" not in said.text
    if [CHANGES[number].outcome for number in numbers] == ["filled in"]:
        said.refused(CHANGES[numbers[0]].says.replace("T#", f"t{numbers[0]}"), "Fill in")
        fill_in(world.project.revisions() - known)
    else:
        accept(world.project, said).ok()
    for command in (["upgrade"], ["downgrade", base], ["upgrade"]):
        world.run(*command).ok()
        for number in numbers:
            seen[number].append(world.fingerprint(number))
    assert "Nothing to do" in world.run("migrate").ok().out
    return seen


def fill_in(written: set[Path]) -> None:
    """Gives the rows that are there a value, where the revisions ask for it."""
    for path in written:
        lines = path.read_text().replace("# backfill(", "backfill(").replace("…", "7")
        path.write_text(re.sub(" *raise NotImplementedError.*\n", "", lines))


def assert_as_expected(number: int, seen: list[set[str]]) -> None:
    before, up, down, up_again = seen
    gone, new = (
        {line.replace("T#", f"t{number}") for line in expected}
        for expected in (CHANGES[number].gone, CHANGES[number].new)
    )
    assert (before - up, up - before) == (gone, new)
    assert down == before
    assert up_again == up


def test_a_revision_makes_each_change(
    world: World, document: Document, subtests: pytest.Subtests
) -> None:
    with world.put_back():
        seen = lead_there_and_back(world, WRITTEN)
    for number in WRITTEN:
        with subtests.test(CHANGES[number].title):
            assert_as_expected(number, seen[number])
            document(CHANGES[number])


def test_a_revision_asks_for_the_values_of_rows_that_are_there(
    world: World, document: Document
) -> None:
    (number,) = numbers("filled in")
    with world.put_back():
        assert_as_expected(number, lead_there_and_back(world, [number])[number])
    document(CHANGES[number])


def test_what_may_be_a_rename_is_not_guessed(world: World, subtests: pytest.Subtests) -> None:
    for number in numbers("asked"):
        with subtests.test(CHANGES[number].title), world.put_back():
            known = world.project.revisions()
            world.write(number, after=True)
            world.register()
            world.run("migrate").refused(CHANGES[number].says.replace("T#", f"t{number}"))
            assert world.project.revisions() == known


def test_what_is_not_written_is_named(
    world: World, document: Document, subtests: pytest.Subtests
) -> None:
    for number in numbers("refused"):
        with subtests.test(CHANGES[number].title), world.put_back():
            before = world.fingerprint(number)
            known = world.project.revisions()
            world.write(number, after=True)
            world.register()
            world.run("migrate").refused(CHANGES[number].says.replace("T#", f"t{number}"))
            if world.project.revisions() != known:
                # It fails until somebody fills it in.
                world.run("upgrade").refused("Fill in")
                assert world.fingerprint(number) == before
            document(CHANGES[number])


@pytest.mark.faults
@pytest.mark.parametrize("number", WRITTEN, ids=[CHANGES[number].title for number in WRITTEN])
def test_the_change_alone(world: World, number: int) -> None:
    with world.put_back():
        assert_as_expected(number, lead_there_and_back(world, [number])[number])


@pytest.fixture
def document() -> Document:
    """Checks that the page tells what was seen, or with DOCUMENT_CHANGES writes it there."""

    def check(change: Change) -> None:
        row = f"| {change.group} | {change.title} | {OUTCOMES[change.outcome]} |"
        beginning, mark, table = PAGE.read_text(encoding="utf-8").partition("| --- |\n")
        rows = table.splitlines()
        if "DOCUMENT_CHANGES" in os.environ:
            order = [c.title for c in CHANGES]
            others = {r for r in rows if r.split(" | ")[1] in {*order} - {change.title}}
            rows = sorted(others | {row}, key=lambda r: order.index(r.split(" | ")[1]))
            PAGE.write_text("\n".join([beginning + mark.strip(), *rows, ""]), encoding="utf-8")
        assert row in rows, "Run: just document-changes"

    return check


def test_the_page_has_no_other_changes() -> None:
    rows = PAGE.read_text(encoding="utf-8").partition("| --- |\n")[2].splitlines()
    assert [row.split(" | ")[1] for row in rows] == [change.title for change in CHANGES]
