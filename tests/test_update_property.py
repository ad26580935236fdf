"""Whatever users and the template do to the same files, an update loses no line of the users'.

Real updates, with edits drawn by hypothesis. What three-way merging has to give is worked out here
in another way than git's.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from itertools import count, pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, event, given, note, settings
from hypothesis import strategies as st

from tests.updates import WORKING_TREE, Template, commit, contents, git

# Files of the template that render as they are.
FILES = [
    ".gitignore",
    "backend/app/api/roles.py",
    "backend/app/models/role.py",
    "docs/database.md",
]
REGISTRY = "backend/app/db/base.py"
PACKAGE = "backend/app/models/__init__.py"
LATEST = "backend/alembic/latest_revision.txt"
ADDED_BY_BOTH = "backend/app/core/clock.py"
# Those of a feature, which users switch off and on.
FEATURE = ["backend/app/api/llm_settings.py", "backend/tests/test_llm_settings.py"]
LOST_EDITS = """
from update.conflicts import refuse_lost_edits
from update.errors import UpdateError
try:
    refuse_lost_edits()
except UpdateError as error:
    print(error)
"""
USERS_LINE = re.compile(r"user-\d+")
# The unchanged lines that two edits need between them to be no conflict.
DISTANCE = 1


@dataclass(frozen=True)
class Edit:
    kind: str
    file: str = ""
    place: int = 0

    def at(self, lines: list[str]) -> int:
        return self.place % (len(lines) + 1)


in_files = {"file": st.sampled_from(FILES), "place": st.integers(0, 2000)}
models = st.builds(Edit, st.just("model"), place=st.integers(0, 1))
user_edits = st.one_of(
    st.builds(Edit, st.sampled_from(["insert", "replace"]), **in_files),
    st.builds(Edit, st.sampled_from(["crlf", "crlf in git", "delete", "rename"]), **in_files),
    st.builds(Edit, st.sampled_from(["revision", "squash", "add", "switch"])),
    st.builds(Edit, st.just("insert"), st.sampled_from(FEATURE), st.integers(0, 2000)),
    models,
)
template_edits = st.one_of(
    st.builds(Edit, st.sampled_from(["insert", "replace"]), **in_files),
    st.builds(Edit, st.sampled_from(["move", "remove"]), file=st.sampled_from(FILES)),
    st.builds(Edit, st.sampled_from(["revision", "add"])),
    models,
)
Round = tuple[list[Edit], list[Edit]]
one_round = st.tuples(
    st.lists(user_edits, min_size=1, max_size=8), st.lists(template_edits, min_size=1, max_size=8)
)


@dataclass
class World:
    """A template and a project of it, which examples put back as they were."""

    template: Template
    pristine: Path
    project: Path
    numbers: Callable[[], int] = field(default_factory=lambda: count(1).__next__)
    version: str = ""
    gone: set[str] = field(default_factory=set)  # by the users
    removed: set[str] = field(default_factory=set)  # by the template
    moved: set[str] = field(default_factory=set)  # by the template
    has_feature: bool = True

    def begin(self) -> None:
        git(self.template.path, "reset", "--quiet", "--hard", WORKING_TREE)
        if self.project.exists():
            shutil.rmtree(self.project)
        shutil.copytree(self.pristine, self.project, symlinks=True)
        self.gone, self.removed, self.moved, self.has_feature = set(), set(), set(), True

    def text(self, file: str) -> str:
        return (self.project / file).read_bytes().decode().replace("\r\n", "\n")

    def in_git(self, file: str) -> list[str]:
        """The lines as git stores them, which may have changed their ends."""
        git(self.project, "add", "--all")
        show = ["git", "show", f":{file}"]
        return (
            subprocess.run(show, cwd=self.project, check=True, capture_output=True)
            .stdout.decode()
            .split("\n")
        )

    def rendered(self, file: str) -> list[str]:
        return (self.template.path / "template" / file).read_text().split("\n")

    def has(self, file: str) -> bool:
        """Whether the template has one of FILES still."""
        return file not in self.removed | self.moved

    def feature(self, file: str) -> list[str]:
        """What the template has of a file of the feature."""
        folder, _, name = file.rpartition("/")
        return self.rendered(f"{folder}/{{% if llm_settings %}}{name}{{% endif %}}")

    def edit(self, edit: Edit, who: str) -> None:
        """One edit; a file that is gone is left alone."""
        name = f"{who}-{self.numbers()}"
        root = self.project if who == "user" else self.template.path / "template"
        path = root / edit.file
        if edit.file and not path.exists():
            return
        match edit.kind:
            case "insert" | "replace":
                ending = "\r\n" if b"\r\n" in path.read_bytes() else "\n"
                lines = path.read_bytes().decode().splitlines()
                at = edit.at(lines)
                lines[at : at + (edit.kind == "replace")] = [f"# {name} {n}" for n in range(2)]
                path.write_bytes("".join(line + ending for line in lines).encode())
            case "crlf" | "crlf in git":
                path.write_bytes(path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
                if edit.kind == "crlf in git":
                    with (root / ".gitattributes").open("a") as attributes:
                        attributes.write(f"{edit.file} -text\n")
            case "delete":
                path.unlink()
                self.gone.add(edit.file)
            case "rename":
                path.rename(path.with_name(f"{name}{path.suffix}"))
                self.gone.add(edit.file)
            case "model":
                self.register(root, name, at_end=edit.place % 2 == 1)
            case "revision":
                versions = root / "backend/alembic/versions"
                if who == "user":
                    (versions / f"{name}.py").write_text(f"# {name}\r\n", newline="")
                    (root / LATEST).write_text(f"{name}\n")
                for revision in versions.glob("*initial*"):
                    revision.write_text(f"{revision.read_text()}# {name}\n")
            case "squash":
                versions = root / "backend/alembic/versions"
                for revision in versions.glob("*.py"):
                    revision.unlink()
                (versions / f"{name}.py").write_text(f"# {name}\n")
            case "switch":
                self.has_feature = not self.has_feature
            case "remove":
                path.unlink()
                self.removed.add(edit.file)
            case "move":
                moved = path.rename(path.with_name(f"{name}{path.suffix}"))
                self.take_along(edit.file, str(moved.relative_to(root)))
                self.moved.add(edit.file)
            case "add":
                added = root / ADDED_BY_BOTH
                added.write_text(f"{added.read_text() if added.exists() else ''}# {name}\n")

    def register(self, root: Path, name: str, at_end: bool) -> None:
        """A model's file, and its lines at the beginnings or ends of a side's own sections."""
        own = root == self.project
        heading = "# Your models" if own else "# The template's models"
        (root / "backend/app/models" / f"{name}.py").write_text(f"# {name}\n")
        for file, line in (
            (REGISTRY, f"from app.models import {name}"),
            (PACKAGE, f"from . import {name}"),
            (PACKAGE, f'    "{name}",'),
        ):
            path = root / (file if own else f"{file}.jinja")
            indent = line[: len(line) - len(line.lstrip())]
            section = re.compile(rf"^{indent}{heading}\n(?:(?! *#|\n|\]).*\n)*", re.M)
            text = path.read_text()
            (found,) = section.finditer(text)
            at = found.end() if at_end else found.start() + len(f"{indent}{heading}\n")
            path.write_text(f"{text[:at]}{line}\n{text[at:]}")

    def take_along(self, old: str, new: str) -> None:
        """A migration of the template's for a file that it moves."""
        entry = {
            "version": self.version,
            "when": "{{ _stage == 'before' }}",
            "command": ["git", "mv", "-k", "--", old, new],
        }
        settings = self.template.path / "copier.yml"
        text = settings.read_text()
        heading = "" if "\n_migrations:\n" in text else "\n_migrations:\n"
        settings.write_text(f"{text}{heading}  - {json.dumps(entry)}\n")

    def lost_edits(self) -> list[str]:
        """The files that are gone with the users' edits, as `just update` tells it."""
        command = [sys.executable, "-c", LOST_EDITS]
        done = subprocess.run(
            command, cwd=self.project / "backend", check=True, capture_output=True, text=True
        )
        return re.findall(r"^    (.*)", done.stdout, re.MULTILINE)

    def users_lines(self) -> set[str]:
        listed = git(self.project, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
        files = [self.project / name for name in set(listed.split("\0")) - {""}]
        return {
            f"{path.name if 'versions' in path.parts else ''}{line}"
            for path in files
            if path.exists()
            for line in USERS_LINE.findall(path.read_bytes().decode(errors="replace"))
        }


def merged(base: list[str], ours: list[str], theirs: list[str]) -> list[str] | None:
    """Both sides' edits of the same lines; None where they touch."""
    hunks = sorted(
        (start, end, side, lines[first:last])
        for side, lines in enumerate((ours, theirs))
        for tag, start, end, first, last in SequenceMatcher(
            None, base, lines, autojunk=False
        ).get_opcodes()
        if tag != "equal"
    )
    for (_, end, side, _), (start, _, other, _) in pairwise(hunks):
        if side != other and start - end < DISTANCE:
            return None
    found = list(base)
    for start, end, _, lines in reversed(hunks):
        found[start:end] = lines
    return found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("property")
    template = Template.of_the_working_tree(folder / "template")
    template.copy(folder / "pristine", WORKING_TREE)
    git(folder / "pristine", "init", "--quiet", "--initial-branch=main")
    commit(folder / "pristine", "Start")
    return World(template, folder / "pristine", folder / "project")


def check(world: World, story: list[Round]) -> None:
    world.begin()
    for users, releases in story:
        before = {file: world.rendered(file) for file in FILES if world.has(file)}
        before |= {file: world.feature(file) for file in FEATURE}
        for edit in users:
            world.edit(edit, "user")
        commit(world.project, "Ours")
        version = world.version = f"v1000.0.{world.numbers()}"
        for edit in releases:
            world.edit(edit, "template")
        world.template.release(version)
        ours = {file: world.in_git(file) for file in before if (world.project / file).exists()}
        registered = {file: world.text(file) for file in (REGISTRY, PACKAGE)}
        lines, history = world.users_lines(), contents(world.project / "backend/alembic/versions")
        latest = (world.project / LATEST).read_bytes()

        conflicted = world.template.update(world.project, version, llm_settings=world.has_feature)
        note(f"{version}: conflicts in {conflicted}")

        lost = [
            file
            for file, text in ours.items()
            if not (world.project / file).exists()
            and file not in world.moved
            and text != before[file]
        ]
        if lost:
            event("lost edits")
            assert world.lost_edits() == sorted(lost)
            lines -= {line for file in lost for line in USERS_LINE.findall("\n".join(ours[file]))}
        assert world.users_lines() == lines
        assert contents(world.project / "backend/alembic/versions") == history
        assert (world.project / LATEST).read_bytes() == latest
        for file in FILES:
            is_kept = world.has(file) and file not in world.gone
            assert (world.project / file).exists() == is_kept
            if not is_kept:
                continue
            expected = merged(before[file], ours[file], world.rendered(file))
            if expected is not None:
                event("merged" if expected not in (ours[file], world.rendered(file)) else "plain")
                assert file not in conflicted
                assert world.in_git(file) == expected
            else:
                event("touching")
        assert not {REGISTRY, PACKAGE} & {*conflicted}
        for file, text in registered.items():
            assert_sections_are_merged(text, world.text(file))
        resolve(world.project, conflicted)


def assert_sections_are_merged(before: str, after: str) -> None:
    """Every line that was there is there, and users' lines stand where they stood."""
    own = [line for line in before.splitlines() if "user-" in line]
    assert [line for line in after.splitlines() if "user-" in line] == own
    parts = re.split(r" *# Your models\n", after)
    assert "template-" not in parts[1].partition("# The template's models")[0]
    assert "template-" not in parts[-1]
    assert "user-" not in parts[0]
    gone = {*before.splitlines()} - {*after.splitlines()}
    assert all("LLMSettings" in line for line in gone)


def resolve(project: Path, conflicted: list[str]) -> None:
    """Keeps both sides."""
    for file in conflicted:
        lines = (project / file).read_bytes().splitlines(keepends=True)
        marks = (b"<<<<<<< ", b">>>>>>> ", b"=======")
        (project / file).write_bytes(b"".join(line for line in lines if not line.startswith(marks)))
    commit(project, "Update")


def test_a_conflict_is_told_and_keeps_both_sides(world: World) -> None:
    world.begin()
    same = Edit("replace", "docs/database.md", 2)
    for who in ("user", "template"):
        world.edit(same, who)
    commit(world.project, "Ours")
    version = f"v1000.0.{world.numbers()}"
    world.template.release(version)
    assert world.template.update(world.project, version) == [same.file]
    text = world.text(same.file)
    assert re.search(
        "<<<<<<< before updating\n# user-.*=======\n# template-.*>>>>>>> after updating", text, re.S
    )


QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large]


@settings(
    max_examples=3,
    derandomize=True,
    deadline=None,
    suppress_health_check=QUIET,
    phases=[Phase.generate],  # an update takes seconds: the long test makes examples small
)
@given(st.lists(one_round, min_size=2, max_size=2))
def test_no_line_of_the_users_is_lost(world: World, story: list[Round]) -> None:
    check(world, story)


@pytest.mark.faults
@settings(
    max_examples=2 * int(os.environ.get("FAULT_ROUNDS", "15")),
    print_blob=True,
    deadline=None,
    suppress_health_check=QUIET,
)
@given(st.lists(one_round, min_size=1, max_size=3))
def test_no_line_of_the_users_is_lost_in_many_updates(world: World, story: list[Round]) -> None:
    check(world, story)
