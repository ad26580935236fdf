"""What has to be settled by hand before an update can begin or go on."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

from update.errors import UpdateError
from update.project import ANSWERS, HERE, UNDO, git
from update.template import copier

# Copier's own markers: those of a merge are none of our business.
MARKERS = r"^(<<<<<<< before|>>>>>>> after) updating"
GO_ON = f"Then go on with: just update --continue\nOr give the update up: {UNDO}"


def refuse_unclean() -> None:
    """Refuses a project with changes that are not committed: they would mix with the update's.

    Raises:
        UpdateError: there are some, or there is no git.
    """
    try:
        changes = git("status", "--porcelain", "--untracked-files=all", "--", ".").splitlines()
    except UpdateError as error:
        raise UpdateError(
            f"{error}\nAn update is a merge, and needs the project in git: "
            f'cd {HERE} && git init -b main && git add --all && git commit --message "Start"'
        ) from None
    refuse_conflicts()
    if changes:
        raise UpdateError(
            f"There are changes that are not committed ({_count(changes)}):\n"
            + _listed(changes[:10])
            + "\nAn update would mix with them. Commit them, or: git stash --include-untracked\n"
            "If they are an update that is under way, go on with: just update --continue"
        )


def refuse_conflicts() -> None:
    """Refuses files in which both the template and somebody here changed the same lines.

    Raises:
        UpdateError: there are some.
    """
    unmerged = [line.partition("\t")[2] for line in _lines("ls-files", "--unmerged", "-z")]
    try:
        marked = _lines("grep", "--untracked", "--no-color", "-lzIE", MARKERS)
    except UpdateError:  # none
        marked = []
    rejected = _lines("ls-files", "--others", "--exclude-standard", "-z", "--", "*.rej")
    if files := sorted({*unmerged, *marked, *rejected}):
        raise UpdateError(
            f"The template and this project changed the same lines ({_count(files)}):\n"
            + _listed(files)
            + "\nIn each, keep what belongs there, delete the lines of the markers, and git add it."
            f" (Out of a .rej file, take over what it has, and delete it.)\n{GO_ON}"
        )


def refuse_lost_edits() -> None:
    """Refuses that files are gone in which somebody here changed something.

    Copier deletes what the new version does not have, without a conflict.

    Raises:
        UpdateError: there are some.
    """
    deleted = _lines("ls-files", "--deleted", "-z")
    if files := _edited(deleted) if deleted else []:
        raise UpdateError(
            f"The template does not have these any more, and you had changed them "
            f"({_count(files)}):\n{_listed(files)}\n"
            f"git has them, for example: cd {HERE} && git show HEAD:./PATH. Take over what you "
            f"need, then let each go with git rm PATH, or keep it with git restore PATH.\n{GO_ON}"
        )


def _edited(files: list[str]) -> list[str]:
    """Those that are not as the version before the update had rendered them."""
    with TemporaryDirectory(prefix="update.") as folder:
        (Path(folder) / ANSWERS).write_text(git("show", f"HEAD:./{ANSWERS}"), encoding="utf-8")
        options = ["--trust", "--quiet", "--defaults", "--overwrite", "--vcs-ref=:current:"]
        if copier("recopy", *options, cwd=Path(folder)).returncode:
            return files  # it said why; nothing is lost by looking at them all
        return [
            file
            for file in files
            if (rendered := Path(folder) / file).is_file()
            and _text(git("show", f"HEAD:./{file}")) != _text(os.fsdecode(rendered.read_bytes()))
        ]


def _text(content: str) -> str:
    return content.replace("\r\n", "\n")


def _lines(*arguments: str) -> list[str]:
    return [line for line in git(*arguments).split("\0") if line]


def _listed(lines: list[str]) -> str:
    return "\n".join(f"    {line}" for line in lines)


def _count(files: list[str]) -> str:
    return f"{len(files)} file{'' if len(files) == 1 else 's'}"
