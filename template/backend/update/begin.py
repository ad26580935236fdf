"""The first half of an update, by the code that the project has: up to the template's new files."""

import os
import subprocess
import sys
from collections.abc import Sequence
from textwrap import indent
from typing import Any

from update.conflicts import refuse_conflicts, refuse_unclean
from update.errors import UpdateError
from update.notes import applies, without_head
from update.project import BACKEND, UNDO, answers, version
from update.template import copier, new_notes, news


def tell_news() -> int:
    """Says whether there is a newer version; 2, as `copier check-update --quiet`, if there is."""
    found = news()
    if not found.is_newer:
        print(f"Nothing new: this project has version {found.current} of the template.")
        return 0
    print(f"Version {found.latest} of the template is out, this project has {found.current}.")
    print("Update with: just update")
    return 2


def begin(vcs_ref: str, data: Sequence[str]) -> None:
    """Updates the files, then hands over to the second half.

    Args:
        vcs_ref: The version to go to; empty for the newest.
        data: Answers to change, as `question=answer`.

    Raises:
        UpdateError: the project can't be updated, there are conflicts, or a step failed.
    """
    refuse_unclean()
    before = answers()
    if vcs_ref:
        target = vcs_ref
    else:
        found = news()
        target = found.latest
        if not found.is_newer and not data:
            print(f"Nothing new: this project has version {found.current} of the template.")
            return
        if not found.is_newer:
            target = vcs_ref = ":current:"
    if target != ":current:":
        print(f"From version {version(before)} of the template to {target.removeprefix('v')}.")
        _show_notes(before, target)
    _run_copier(vcs_ref, data)
    refuse_conflicts()
    # A new process: the recipe and the code behind it are the new version's.
    just = os.environ.get("JUST", "just")
    code = subprocess.run([just, "update", "--continue"], cwd=BACKEND).returncode
    if code:
        sys.exit(code)


def _show_notes(before: dict[str, Any], target: str) -> None:
    changelog, upgrading = new_notes(before["_src_path"], before["_commit"], target)
    notes = [(title, body) for title, body in upgrading.items() if applies(body, before)]
    for title, body in changelog.items():
        print(f"\n{title}\n\n{indent(body, '    ')}")
    for title, body in notes:
        print(f"\nTo do for {title}\n\n{indent(without_head(body), '    ')}")
    print(flush=True)


def _run_copier(vcs_ref: str, data: Sequence[str]) -> None:
    arguments = ["--trust", "--quiet"]
    arguments += ["--skip-answered"] if sys.stdin.isatty() else ["--defaults"]
    arguments += [f"--vcs-ref={vcs_ref}"] if vcs_ref else []
    arguments += [f"--data={answer}" for answer in data]
    if copier("update", *arguments).returncode:
        raise UpdateError(f"Copier failed, see above. Undo what it may have left behind: {UNDO}")
