"""Times `copier copy` and `copier update`, and what of that is Copier's own floor.

The floor is a template of as many empty files, without questions and extensions.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from benchmarks.plot import plot_copier
from benchmarks.project import REPOSITORY, Project

OLD, NEW = "v1.0.0", "v2.0.0"
CHANGED = "docs/database.md"
ANSWERS_FILE = ".copier-answers.yml"
OURS, FLOOR = "this template", "empty files"


class Case:
    """A template with two versions, and the folder that a project of it is made in."""

    def __init__(self, name: str, base: Path, env: dict[str, str]) -> None:
        self.template = base / f"{name} template"
        self.project = base / f"{name} project"
        self.env = env

    def release(self, version: str) -> None:
        self.git(self.template, "add", "--all")
        self.git(self.template, "commit", "--quiet", "--allow-empty", "--message", version)
        self.git(self.template, "tag", version)

    def change(self) -> None:
        """One more line in one file."""
        with (self.template / "template" / CHANGED).open("a") as file:
            file.write("one more line\n")

    def no_project(self) -> None:
        shutil.rmtree(self.project, ignore_errors=True)

    def copy(self) -> float:
        options = ["--quiet", "--trust", "--defaults", "--data", "project_name=Bench"]
        options += ["--vcs-ref", OLD]
        return self.copier("copy", *options, str(self.template), str(self.project))

    def in_git(self) -> None:
        self.git(self.project, "init", "--quiet")
        self.git(self.project, "add", "--all")
        self.git(self.project, "commit", "--quiet", "--message", "Start")

    def as_copied(self) -> None:
        self.git(self.project, "reset", "--quiet", "--hard")
        self.git(self.project, "clean", "--quiet", "--force", "-dx")

    def update(self) -> float:
        options = ["--quiet", "--trust", "--defaults", "--vcs-ref", NEW]
        seconds = self.copier("update", *options, str(self.project))
        changed = (self.project / CHANGED).read_text()
        if not changed.endswith("one more line\n"):
            sys.exit(f"The update of {self.project.name} did not arrive.")
        return seconds

    def copier(self, *arguments: str) -> float:
        started = time.perf_counter()
        self.run("copier", *arguments)
        return time.perf_counter() - started

    def git(self, folder: Path, *arguments: str) -> None:
        self.run("git", "-C", str(folder), *arguments)

    def run(self, *command: str) -> None:
        done = subprocess.run(command, env=self.env, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def run(project: Project, output: Path, quick: bool, rounds: int) -> str:
    """Measures, draws the plot and returns the results as Markdown."""
    base = project.path.parent / "copier"
    base.mkdir()
    settings = base / "settings.yml"
    settings.write_text("{}\n")  # not this machine's
    env = {**project.env, "COPIER_SETTINGS_PATH": str(settings)}
    ours, floor = Case("ours", base, env), Case("floor", base, env)
    make_ours(ours)
    ours.copy()
    files = [
        str(path.relative_to(ours.project)) for path in ours.project.rglob("*") if path.is_file()
    ]
    make_floor(floor, files)
    cases = {OURS: ours, FLOOR: floor}
    rounds = rounds if quick else 3 * rounds
    copies = least(rounds, {name: (case.no_project, case.copy) for name, case in cases.items()})
    for case in cases.values():
        case.in_git()
    updates = least(rounds, {name: (case.as_copied, case.update) for name, case in cases.items()})
    start = min(ours.copier("--version") for _ in range(rounds))
    seconds = {"copier copy": copies, "copier update": updates}
    plot_copier(seconds, output / "copier.svg")
    return report(seconds, start, len(files), rounds)


def make_ours(case: Case) -> None:
    """This repository with its history, and one version more."""
    case.run("git", "clone", "--quiet", "--no-tags", str(REPOSITORY), str(case.template))
    case.release(OLD)
    case.change()
    case.release(NEW)


def make_floor(case: Case, files: list[str]) -> None:
    for file in files:
        path = case.template / "template" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (case.template / "template" / ANSWERS_FILE).rename(
        case.template / "template" / "{{ _copier_conf.answers_file }}.jinja"
    )
    (case.template / "template" / "{{ _copier_conf.answers_file }}.jinja").write_text(
        "{{ _copier_answers | to_nice_yaml }}"
    )
    (case.template / "copier.yml").write_text("_subdirectory: template\n")
    case.git(case.template, "init", "--quiet")
    case.release(OLD)
    case.change()
    case.release(NEW)


def least(
    rounds: int, measures: dict[str, tuple[Callable[[], None], Callable[[], float]]]
) -> dict[str, float]:
    """The least seconds of each measure after its preparation, in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(rounds):
        for name, (prepare, measure) in measures.items():
            prepare()
            seconds[name].append(measure())
        print(f"round {number + 1}: {seconds}", file=sys.stderr)
    return {name: min(times) for name, times in seconds.items()}


def report(seconds: dict[str, dict[str, float]], start: float, files: int, rounds: int) -> str:
    """The results as Markdown."""
    lines = [
        "# Copying and updating",
        "",
        "Seconds of wall time of `copier copy` and `copier update` from a local repository, the "
        f"least of {rounds} rounds in turns. The floor is Copier's own work: a template of as many "
        f"files ({files}), all of them empty, without questions and extensions. The update brings "
        f"one more line in one file. Made by `just bench copier` with Copier {version('copier')} "
        f"and Python {platform.python_version()} on {os.cpu_count()} cores.",
        "",
        "![Seconds of both commands](copier.svg)",
        "",
        f"| command | {OURS} | {FLOOR} | ratio |",
        "| --- | ---: | ---: | ---: |",
    ]
    for command, least in seconds.items():
        ours, floor = least[OURS], least[FLOOR]
        lines.append(f"| {command} | {ours:.2f} | {floor:.2f} | {ours / floor:.1f} |")
    lines += [
        "",
        f"Of each, {start:.2f} s are the start of Python and Copier (`copier --version`).",
    ]
    return "\n".join(lines) + "\n"
