"""Fixtures: a release of the template, and a project made from it that has lived."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import Home, Project
from tests.updates import Template, commit, copy_working_tree, git

ANSWERS = ".copier-answers.yml"


@pytest.fixture(scope="session")
def first_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of its own that holds the working tree, tagged v0.1.0."""
    repository = tmp_path_factory.mktemp("release") / "template"
    copy_working_tree(repository)
    git(repository, "init", "--quiet", "--initial-branch=main")
    commit(repository, "Release v0.1.0")
    git(repository, "tag", "v0.1.0")
    return repository


@pytest.fixture(scope="session")
def lived(
    first_release: Path, at_home_for_all: Home, tmp_path_factory: pytest.TempPathFactory
) -> Project:
    project = at_home_for_all(tmp_path_factory.mktemp("lived") / "project")
    Template(first_release).copy(project.path, "v0.1.0")
    git(project.path, "init", "--quiet", "--initial-branch=main")
    project.just("db-upgrade").ok()
    project.just("db-model", "Widget").ok()
    project.just("db-migrate").ok()
    project.just("db-upgrade").ok()
    commit(project.path, "Live")
    return project


@pytest.fixture
def template(first_release: Path, tmp_path: Path) -> Path:
    """A release of the template, to be changed."""
    return shutil.copytree(first_release, tmp_path / "template", symlinks=True)


@pytest.fixture
def living(
    lived: Project, first_release: Path, template: Path, at_home: Home, tmp_path: Path
) -> Project:
    """A project of that release, in git, with a table, a revision and a database of its own."""
    project = at_home(tmp_path / "living" / "project", like=lived)
    project.replace(ANSWERS, f"_src_path: {first_release}\n", f"_src_path: {template}\n")
    git(project.path, "commit", "--quiet", "--all", "--amend", "--no-edit")
    return project
