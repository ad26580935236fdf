"""This repository's releases, and Copier's API on living projects.

pytest-copie trusts everything, updates with the last answers only and hides conflicts. Here one
template is trusted, the settings of this machine play no part, and conflicts are what an update
returns.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import copier

from tests.conftest import REPOSITORY, Project

# The working tree's version: newer than every release.
WORKING_TREE = "v999.0.0"
VERSION = r"v\d+\.\d+\.\d+"


def git(repository: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    return subprocess.run(
        ["git", *identity, *arguments], cwd=repository, check=True, capture_output=True, text=True
    ).stdout


def commit(repository: Path, message: str) -> None:
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--allow-empty", "--message", message)


def releases(repository: Path = REPOSITORY) -> dict[str, str]:
    """The commit of each release in the history, oldest first: the tag's, or the one that says so."""
    found: dict[str, str] = {}
    for line in git(repository, "log", "--format=%H %s").splitlines():
        name, _, subject = line.partition(" ")
        if release := re.fullmatch(f"Release ({VERSION})", subject):
            found.setdefault(release[1], name)
    for tag in git(repository, "tag", "--list", "--merged", "HEAD").split():
        if re.fullmatch(VERSION, tag):
            found[tag] = git(repository, "rev-parse", f"{tag}^{{commit}}").strip()
    numbers = {version: [int(part) for part in version[1:].split(".")] for version in found}
    return {version: found[version] for version in sorted(found, key=numbers.__getitem__)}


def copy_working_tree(destination: Path) -> None:
    tracked = git(REPOSITORY, "ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    for name in tracked:
        if (REPOSITORY / name).exists():
            (destination / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, destination / name)


@dataclass(frozen=True)
class Template:
    """A repository of the template with tagged versions, which Copier is told to trust."""

    path: Path
    trusted: bool = True

    @property
    def settings(self) -> copier.Settings:
        return copier.Settings(trust=[str(self.path)] if self.trusted else [])

    @classmethod
    def with_every_release(cls, folder: Path) -> Template:
        """A clone in which each release is a tag and the working tree is the newest version."""
        git(folder.parent, "clone", "--quiet", "--no-tags", str(REPOSITORY), str(folder))
        for version, name in releases().items():
            git(folder, "tag", version, name)
        for path in folder.iterdir():
            if path.name != ".git":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        return cls(folder)._with_the_working_tree()

    @classmethod
    def of_the_working_tree(cls, folder: Path) -> Template:
        """A new repository that has nothing but the working tree."""
        folder.mkdir()
        git(folder, "init", "--quiet", "--initial-branch=main")
        return cls(folder)._with_the_working_tree()

    def _with_the_working_tree(self) -> Template:
        copy_working_tree(self.path)
        self.release(WORKING_TREE)
        return self

    def release(self, version: str) -> None:
        commit(self.path, f"Release {version}")
        git(self.path, "tag", version)

    def write(self, path: str, text: str) -> None:
        file = self.path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def replace(self, path: str, old: str, new: str) -> None:
        text = (self.path / path).read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {path}"
        (self.path / path).write_text(text.replace(old, new), encoding="utf-8")

    def copy(self, destination: Path, version: str, **answers: Any) -> None:
        copier.run_copy(
            str(self.path),
            destination,
            data={"project_name": "Book Club", **answers},
            defaults=True,
            quiet=True,
            vcs_ref=version,
            settings=self.settings,
        )

    def update(self, project: Path, version: str | None = None, **answers: Any) -> list[str]:
        """Updates to a version, the newest unless told otherwise; the files with conflicts."""
        copier.run_update(
            project,
            data=answers,
            defaults=True,
            overwrite=True,
            quiet=True,
            vcs_ref=version,
            settings=self.settings,
        )
        return conflicts(project)

    def recopy(self, project: Path, **answers: Any) -> None:
        copier.run_recopy(
            project,
            data=answers,
            defaults=True,
            overwrite=True,
            quiet=True,
            settings=self.settings,
        )


def conflicts(project: Path) -> list[str]:
    """The files that git calls unmerged, that have a marker, or that Copier left beside one."""
    unmerged = git(project, "diff", "--name-only", "--diff-filter=U", "-z").split("\0")
    files = git(project, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    marked = [
        name
        for name in files
        if (project / name).is_file()
        and (name.endswith(".rej") or b"<<<<<<< before updating" in (project / name).read_bytes())
    ]
    return sorted({*unmerged, *marked} - {""})


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.py")}


def start_history(project: Project) -> None:
    """Puts a new project into git."""
    git(project.path, "init", "--quiet", "--initial-branch=main")
    commit(project.path, "Start")


def schema(project: Project) -> list[tuple[str, ...]]:
    """The database's schema object by object, as the project's own pg_dump tells it."""
    found = project.python(
        "import json\n"
        "from app.core.config import get_settings\n"
        "from app.migrate.dump import read_schema\n"
        "for name, text in sorted(read_schema(get_settings()).items()):\n"
        "    print(json.dumps([name.kind, name.table, name.name, text]))"
    )
    return [tuple(json.loads(line)) for line in found.ok().out.splitlines()]
