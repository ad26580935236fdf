"""Whether an update of the template is all that has changed the models: a revision is named so."""

import re
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from alembic.util import CommandError

from app.core.files import BACKEND_DIR, PROJECT_DIR
from app.migrate.git import MODELS_IN_GIT, commit_exists, git, git_or_none
from app.migrate.revision_file import LATEST

ANSWERS = "../.copier-answers.yml"
REGISTRY = "app/db/base.py"
SECTION = re.compile(r"^# The template's models$(.*?)^# Your models$", re.DOTALL | re.MULTILINE)


def template_message() -> str:
    """`template <version>` when only the template changed the models since the newest revision.

    Empty otherwise, and where git does not tell.
    """
    with suppress(CommandError, OSError, UnicodeDecodeError):
        if _is_all_of_the_template():
            answers = (BACKEND_DIR / ANSWERS).read_text(encoding="utf-8")
            version = re.search(r"^_commit: '?v?([^'\s]+)", answers, re.MULTILINE)
            return f"template {version[1]}" if version else ""
    return ""


def _is_all_of_the_template() -> bool:
    """Whether nobody touched the models but the newest update, committed or not."""
    is_committed = not git("status", "--porcelain", "--", ANSWERS)
    update = git("log", "-1", "--format=%H", "--", ANSWERS).strip() if is_committed else ""
    before = f"{update}^" if is_committed else "HEAD"
    if not commit_exists(before) or (update and _changed_since(update)):
        return False
    newest = git_or_none("show", f"{before}:./alembic/{LATEST.name}")
    return (
        newest == LATEST.read_text(encoding="utf-8").strip()
        and _changed_since(before) <= _template_s_files(before)
        and _was_in_step(before)
    )


def _changed_since(commit: str) -> set[str]:
    """The files of the models that are not as in a commit."""
    changed = git("diff", "--name-only", "--relative", "-z", commit, "--", MODELS_IN_GIT)
    added = git("ls-files", "--others", "--exclude-standard", "-z", "--", MODELS_IN_GIT)
    return {*f"{changed}{added}".split("\0")} - {""}


def _template_s_files(before: str) -> set[str]:
    """The files with models that the registry, now or at a commit, has as the template's."""
    now = (BACKEND_DIR / REGISTRY).read_text(encoding="utf-8")
    sections = SECTION.findall(git("show", f"{before}:./{REGISTRY}") + now)
    modules = re.findall(r"^from (\S+) import", "".join(sections), re.MULTILINE)
    return {f"{MODELS_IN_GIT}/__init__.py", *(f"{m.replace('.', '/')}.py" for m in modules)}


def _was_in_step(commit: str) -> bool:
    """Whether the models of a commit equal its history, as that commit's own code sees it."""
    with TemporaryDirectory(prefix="update.") as folder:
        archive, project = Path(folder, "backend.zip"), Path(folder, "project")
        git("archive", "--format=zip", f"--output={archive}", commit)
        shutil.unpack_archive(archive, project / "backend")
        for name in (".env", "secrets"):
            (project / name).symlink_to(PROJECT_DIR / name)
        command = [sys.executable, "-m", "alembic", "check"]
        done = subprocess.run(command, cwd=project / "backend", capture_output=True)
    return done.returncode == 0
