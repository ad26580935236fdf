"""Warns of a password in the template's address, which the answers file takes into git."""

import re
import sys

from app.core.files import PROJECT_DIR

ANSWERS = PROJECT_DIR / ".copier-answers.yml"
# What stands between scheme and host (user:password, or a token as the user), or as an argument.
SECRET = re.compile(
    r"^_src_path:.*(?:://(?:[^/@\s]*:[^/\s]+|(?<!ssh://)[^/@\s]{20,})@|[?&][a-z_]*token=)",
    re.MULTILINE | re.IGNORECASE,
)


def warn_of_secret() -> None:
    """Says on standard error that there is one, and what to do."""
    try:
        answers = ANSWERS.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as _:  # whoever needs it says so
        return
    if SECRET.search(answers):
        print(
            f"Warning: _src_path in {ANSWERS.name} has a password or token, which a commit shows to "
            "everybody who sees the project. Take it out, and let git know it: docs/updating.md, "
            '"Without just update", says how.',
            file=sys.stderr,
        )
