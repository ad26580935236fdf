"""The second half of an update, by the new code: from the template's new files to a commit."""

import os
import subprocess

from update.conflicts import refuse_conflicts, refuse_lost_edits
from update.errors import UpdateError
from update.project import BACKEND, answers, git, version

REVIEW = """
The project is at version {version} of the template. Changed:
{changes}
Review it with: git diff
Apply the revisions, if there are any, and test it: just db-upgrade && just lint && just test
Commit it all at once: git add --all && git commit --message "Update the template to {version}"
"""


def finish() -> None:
    """Refreshes the environment, writes the revisions that the models need, and checks it all.

    Raises:
        UpdateError: there are conflicts, or a step failed.
    """
    refuse_conflicts()
    refuse_lost_edits()
    now = version(answers())
    for step in ("setup", "_mark", "db-migrate", "db-check"):
        if not step.startswith("_"):
            print(f"just {step}", flush=True)
        code = subprocess.run([os.environ.get("JUST", "just"), step], cwd=BACKEND).returncode
        if code:
            raise UpdateError(
                f"`just {step}` did not succeed: do what it says, then go on with: "
                "just update --continue",
                code,
            )
    changes = git("status", "--short", "--", ".").rstrip()
    print(REVIEW.format(version=now, changes=changes) if changes else "Nothing to commit.")
