"""One line of history: two branches that both add a revision, and the way back to one."""

from __future__ import annotations

from importlib.util import cache_from_source
from itertools import pairwise
from pathlib import Path

import pytest

from tests.conftest import Project, Result

LATEST = "backend/alembic/latest_revision.txt"


def git(project: Project, *arguments: str) -> Result:
    return project.run("git", *arguments, GIT_EDITOR="true")


def commit(project: Project, message: str) -> None:
    git(project, "add", "--all").ok()
    git(project, "commit", "--quiet", "--message", message).ok()


def latest(project: Project) -> str:
    return (project.path / LATEST).read_text().strip()


def add_revision(project: Project, name: str) -> Path:
    before = project.revisions()
    project.alembic("revision", "-m", name).ok()
    (path,) = project.revisions() - before
    table = name.replace(" ", "_")
    path.write_text(
        path.read_text()
        .replace("    pass", f'    op.execute("CREATE TABLE {table} (id int)")', 1)
        .replace("    pass", f'    op.execute("DROP TABLE {table}")', 1)
    )
    return path


def revision(path: Path) -> str:
    return path.stem[-12:]


@pytest.fixture
def branches(project: Project) -> tuple[Project, Path, list[Path]]:
    """Main with one new revision, the branch `feature` (checked out) with two others."""
    git(project, "init", "--quiet", "--initial-branch=main").ok()
    commit(project, "Start")
    git(project, "checkout", "--quiet", "-b", "feature").ok()
    mine = [add_revision(project, "mine one")]
    commit(project, "Mine, one")
    mine.append(add_revision(project, "mine two"))
    commit(project, "Mine, two")
    git(project, "checkout", "--quiet", "main").ok()
    theirs = add_revision(project, "theirs")
    commit(project, "Theirs")
    git(project, "checkout", "--quiet", "feature").ok()
    return project, theirs, mine


def assert_one_line(project: Project, order: list[Path]) -> None:
    """The history ends with these revisions, and it works."""
    lines = project.just("db-history").ok().out.splitlines()
    newest_first = [line.split()[1] for line in lines]
    assert newest_first[: len(order)] == [revision(path) for path in reversed(order)]
    assert latest(project) == revision(order[-1])
    project.just("db-upgrade").ok()
    project.just("db-downgrade", "base").ok()
    project.just("db-upgrade").ok()
    for parent, child in pairwise(order):
        assert f"Revises: {revision(parent)}\n" in child.read_text()


def test_every_command_that_adds_a_revision_records_it(project: Project) -> None:
    assert latest(project) == "572de137043f"
    path = add_revision(project, "empty")
    assert latest(project) == revision(path)
    project.just("db-model", "Widget").ok()
    before = project.revisions()
    project.migrate()
    (path,) = project.revisions() - before
    assert latest(project) == revision(path)


def test_two_branches_conflict_in_git_and_a_merge_is_rebased(
    branches: tuple[Project, Path, list[Path]],
) -> None:
    project, theirs, mine = branches
    merged = git(project, "merge", "main")
    assert merged.code == 1
    assert "latest_revision.txt" in merged.text
    project.just("db-upgrade").refused(revision(theirs), revision(mine[1]), "just db-rebase")
    bodies = {path: path.read_text().partition("def upgrade")[2] for path in mine}
    untouched = theirs.read_bytes(), mine[1].read_bytes()
    said = project.just("db-rebase").ok().out
    assert f"follows {revision(theirs)} now" in said
    assert (theirs.read_bytes(), mine[1].read_bytes()) == untouched
    assert bodies == {path: path.read_text().partition("def upgrade")[2] for path in mine}
    assert_one_line(project, [theirs, *mine])
    commit(project, "Merge main")
    assert "newest revision" in project.just("db-rebase").ok().out
    assert git(project, "status", "--porcelain").ok().out == ""


def test_what_python_compiled_before_is_not_used_after(
    branches: tuple[Project, Path, list[Path]],
) -> None:
    project, theirs, mine = branches
    # As if the file had been compiled in the very second in which db-rebase writes it.
    project.just("db-history").ok()
    compiled = Path(cache_from_source(str(mine[0])))
    assert compiled.exists()
    git(project, "merge", "main")
    project.just("db-rebase").ok()
    written = int(mine[0].stat().st_mtime)
    if compiled.exists():
        header = compiled.read_bytes()
        compiled.write_bytes(header[:8] + written.to_bytes(4, "little") + header[12:])
    assert_one_line(project, [theirs, *mine])


def test_a_rebase_in_progress(branches: tuple[Project, Path, list[Path]]) -> None:
    project, theirs, mine = branches
    assert git(project, "rebase", "main").code == 1
    project.just("db-rebase").ok()
    git(project, "add", "--all").ok()
    while git(project, "rebase", "--continue").code != 0:
        project.just("db-rebase").ok()
        git(project, "add", "--all").ok()
    assert_one_line(project, [theirs, *mine])


def test_a_merge_into_main(branches: tuple[Project, Path, list[Path]]) -> None:
    project, theirs, mine = branches
    git(project, "checkout", "--quiet", "main").ok()
    assert git(project, "merge", "feature").code == 1
    project.just("db-rebase").ok()
    assert_one_line(project, [theirs, *mine])


def test_a_cherry_pick(branches: tuple[Project, Path, list[Path]]) -> None:
    project, theirs, mine = branches
    git(project, "checkout", "--quiet", "main").ok()
    assert git(project, "cherry-pick", "feature~1").code == 1
    project.just("db-rebase").ok()
    assert_one_line(project, [theirs, mine[0]])


def test_onto_a_revision_without_git(branches: tuple[Project, Path, list[Path]]) -> None:
    project, theirs, mine = branches
    git(project, "merge", "main")
    project.run("rm", "-rf", ".git").ok()
    project.just("db-rebase").refused("git")
    project.just("db-rebase", "--onto", revision(theirs)).ok()
    assert_one_line(project, [theirs, *mine])
    project.just("db-rebase", revision(theirs)).ok()
    project.just("db-rebase", "--onto", "nonsense").refused("nonsense", "db-history")
    assert project.just("db-rebase", "--on", "x", "y").code == 2


def test_windows_line_endings_and_the_rest_of_the_file_stay(
    branches: tuple[Project, Path, list[Path]],
) -> None:
    project, theirs, mine = branches
    git(project, "merge", "main")
    source = mine[0].read_bytes().replace(b"\n", b"\r\n") + b"# \xc3\xbcnchanged  \r\n"
    mine[0].write_bytes(source)
    project.just("db-rebase").ok()
    old, new = b"572de137043f", revision(theirs).encode()
    assert mine[0].read_bytes() == source.replace(old, new)


def test_an_applied_revision_is_not_moved(branches: tuple[Project, Path, list[Path]]) -> None:
    project, theirs, mine = branches
    project.just("db-upgrade").ok()
    git(project, "merge", "main")
    before = {path: path.read_bytes() for path in project.revisions()}
    project.just("db-rebase").refused(revision(mine[0]), "just db-downgrade 572de137043f")
    assert before == {path: path.read_bytes() for path in project.revisions()}
    assert "<<<<<<<" in (project.path / LATEST).read_text()
    project.just("db-downgrade", "572de137043f").ok()
    project.just("db-rebase").ok()
    assert_one_line(project, [theirs, *mine])


def test_two_heads_on_main_itself_are_refused(branches: tuple[Project, Path, list[Path]]) -> None:
    project, theirs, mine = branches
    git(project, "merge", "main")
    project.write(LATEST, revision(mine[1]) + "\n")
    commit(project, "Merge without looking")
    git(project, "branch", "--force", "main", "HEAD").ok()
    project.just("db-rebase").refused("2 heads", "just db-rebase --onto REVISION")
    project.just("db-rebase", revision(theirs)).ok()
    assert_one_line(project, [theirs, *mine])


def test_a_merge_revision_and_two_roots_are_refused(
    branches: tuple[Project, Path, list[Path]],
) -> None:
    project, _, mine = branches
    git(project, "merge", "main")
    project.alembic("merge", "heads", "-m", "both").ok()
    project.just("db-rebase").refused("merge revision", "git rm")
    (merge,) = project.versions.glob("*both*")
    merge.unlink()
    mine[0].write_text(mine[0].read_text().replace('= "572de137043f"', "= None"))
    project.just("db-rebase").refused("2 first revisions")


def test_two_files_with_one_revision_are_refused(project: Project) -> None:
    path = add_revision(project, "one")
    path.with_name("copy.py").write_text(path.read_text())
    project.just("db-migrate").refused("copy.py", revision(path))


def test_without_a_base_branch_the_setting_is_named(project: Project) -> None:
    git(project, "init", "--quiet", "--initial-branch=work").ok()
    commit(project, "Start")
    project.just("db-rebase").refused("no branch main", "git config migrate.baseBranch")
    git(project, "config", "migrate.baseBranch", "work").ok()
    project.just("db-rebase").ok()
