"""Who owns which file, as docs/updating.md of the project says it, and copier.yml does it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pathspec import GitIgnoreSpec

from tests.conftest import REPOSITORY, Project, render
from tests.updates import Template, commit, git

TABLE = REPOSITORY / "template/docs/updating.md"
# Together they render every file that there is.
EVERY_FILE: tuple[dict[str, Any], ...] = (
    {"license": "MIT", "dev_database": "docker"},
    {"dev_database": "embedded"},
    {"dev_database": "external", "llm_settings": False},
)


def rows() -> list[tuple[list[str], str]]:
    """The patterns and the owner of each row of the table."""
    cells = re.findall(r"^\| (`.*?) \| (template|shared|you) \|", TABLE.read_text(), re.MULTILINE)
    return [(re.findall(r"`([^`]+)`", patterns), owner) for patterns, owner in cells]


def patterns_of(owner: str) -> set[str]:
    return {f"/{pattern}" for patterns, who in rows() if who == owner for pattern in patterns}


def sections() -> dict[str, str]:
    """The shared files, each with the comment above the users' lines, if it has one."""
    lines = re.findall(r"^\| (`.*?) \| shared \| (.*) \|$", TABLE.read_text(), re.MULTILINE)
    found = {}
    for patterns, place in lines:
        named = re.search(r'"(Your .*?)"', place)
        assert named or place == "at its end", place
        for path in re.findall(r"`([^`]+)`", patterns):
            found[path] = f"# {named[1]}\n" if named else ""
    return found


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Every file that any answers make, by its path."""
    files: dict[str, bytes] = {}
    for number, answers in enumerate(EVERY_FILE):
        project = render(tmp_path_factory.mktemp("rendered") / str(number), **answers)
        paths = [path for path in project.rglob("*") if path.is_file()]
        files |= {str(path.relative_to(project)): path.read_bytes() for path in paths}
    return files


def test_every_file_is_in_one_row(rendered: dict[str, bytes]) -> None:
    specs = [GitIgnoreSpec.from_lines(f"/{p}" for p in patterns) for patterns, _ in rows()]
    for path in rendered:
        found = [number for number, spec in enumerate(specs) if spec.match_file(path)]
        assert len(found) == 1, f"{path} is in {len(found)} rows of docs/updating.md"


def test_every_pattern_has_a_file(rendered: dict[str, bytes]) -> None:
    for patterns, _ in rows():
        for pattern in patterns:
            spec = GitIgnoreSpec.from_lines([f"/{pattern}"])
            # The template ships no changelog; a project's own is safe if it does one day.
            assert pattern == "CHANGELOG.md" or any(map(spec.match_file, rendered)), pattern


def test_copier_never_touches_what_is_the_user_s() -> None:
    settings = yaml.safe_load((REPOSITORY / "copier.yml").read_text())
    assert set(settings["_skip_if_exists"]) == patterns_of("you")
    excluded = {line.strip() for line in "\n".join(settings["_exclude"]).splitlines()}
    assert {line for line in excluded if line.startswith("/")} <= patterns_of("you")


def test_every_shared_file_has_the_user_s_section(rendered: dict[str, bytes]) -> None:
    assert "backend/pyproject.toml" in sections()
    for path, heading in sections().items():
        assert heading in rendered[path].decode(), path


def test_lines_in_both_sections_of_every_shared_file_never_conflict(
    living: Project, template: Path
) -> None:
    for path, heading in sections().items():
        (source,) = (template / "template").glob(f"{path}*")
        theirs, ours = source.read_text(), (living.path / path).read_text()
        if heading:
            lines = re.compile(rf"^( *){heading}", re.MULTILINE)
            theirs = lines.sub(rf"\1# theirs\n\1{heading}", theirs)
            ours = lines.sub(rf"\1{heading}\1# ours\n", ours)
        else:
            theirs, ours = f"# theirs\n{theirs}", f"{ours}# ours\n"
        source.write_text(theirs)
        living.write(path, ours)
    commit(living.path, "Ours")
    commit(template, "Release v0.2.0")
    git(template, "tag", "v0.2.0")
    assert Template(template).update(living.path) == []
    for path, heading in sections().items():
        text = (living.path / path).read_text()
        if heading:
            both = re.findall(rf"^( *)# theirs\n\1{heading}\1# ours\n", text, re.MULTILINE)
            assert len(both) == text.count(heading) > 0, path
        else:
            assert text.startswith("# theirs\n"), path
            assert text.endswith("# ours\n"), path


def test_the_example_of_own_recipes_works(living: Project) -> None:
    (example,) = re.findall(r"^```just\n(.*?)^```$", TABLE.read_text(), re.DOTALL | re.MULTILINE)
    living.write("justfile.local", example)
    living.write("backend/app/books.py", "import sys\n\nprint(sys.argv[1:])\n")
    assert living.just("import-books", "a b", "c").ok().out == "['a b', 'c']\n"


def test_binary_files_are_the_user_s(rendered: dict[str, bytes]) -> None:
    """Copier merges text; of a binary that was replaced it would bring its own back."""
    own = GitIgnoreSpec.from_lines(patterns_of("you"))
    for path, content in rendered.items():
        assert b"\0" not in content or own.match_file(path), path


def test_no_gitignored_file_is_rendered(
    generate: Callable[..., Project], rendered: dict[str, bytes]
) -> None:
    """An update would bring the template's content back, or delete it with the user's edits."""
    project = generate()
    git(project.path, "init", "--quiet")
    ignored = project.run("git", "check-ignore", "--no-index", *sorted(rendered)).out.split()
    assert ignored == []
