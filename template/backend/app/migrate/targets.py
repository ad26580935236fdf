"""What a move of the database may name as its target, and the revisions on the way there."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from alembic.script import Script, ScriptDirectory
from alembic.script.revision import RevisionError
from alembic.util import CommandError

# Of an identifier, of which Alembic takes any beginning: "0" may be five revisions away.
MIN_PREFIX = 4
FORMS = {
    "upgrade": (r"\+[1-9]\d*|heads?", "+1 for the next one, head"),
    "downgrade": (r"-[1-9]\d*|base", "-1 for the last one, base"),
}


def refuse_vague_target(target: str, direction: str, scripts: ScriptDirectory) -> None:
    """Refuses a target that may be another revision than the one that is meant.

    Args:
        direction: "upgrade" or "downgrade".

    Raises:
        CommandError: says what a target may be.
    """
    form, examples = FORMS[direction]
    if re.fullmatch(form, target):
        return
    try:
        known = [script.revision for script in scripts.walk_revisions()]
    except (KeyError, CommandError) as _:
        return  # the history is not whole: explained where it is loaded
    if target in known:
        return
    found = [name for name in known if name.startswith(target)]
    if len(target) >= MIN_PREFIX and len(found) == 1:
        return
    several = f" It begins {', '.join(found)}." if len(found) > 1 else ""
    raise CommandError(
        f"Nothing was run: {target!r} is no target for db-{direction}.{several} It is one of: "
        f"{examples}, a revision, or at least {MIN_PREFIX} characters of it. "
        "`just db-history` lists them."
    )


def on_the_way_down(scripts: ScriptDirectory, heads: Sequence[str], target: Any) -> list[Script]:
    """The revisions that a downgrade rolls back, in its order.

    Raises:
        CommandError: the target is not on a way down.
    """
    with _explained():
        return list(scripts.iterate_revisions(tuple(heads), target, select_for_downgrade=True))


def on_the_way_up(scripts: ScriptDirectory, heads: Sequence[str], target: Any) -> list[Script]:
    """The revisions that an upgrade applies, the last one first.

    Raises:
        CommandError: the target is not on a way up.
    """
    with _explained():
        return list(scripts.iterate_revisions(target, tuple(heads), implicit_base=True))


@contextmanager
def _explained() -> Iterator[None]:
    """As Alembic's own commands raise what is wrong with a target."""
    try:
        yield
    except RevisionError as error:
        raise CommandError(str(error)) from None


def refuse_irreversible(way: Sequence[Script]) -> None:
    """Refuses a way down that a revision says there is not.

    Raises:
        CommandError: names the revisions and their reasons.
    """
    found = [
        f"    {script.revision} ({script.doc}): {reason}"
        for script in way
        if (reason := getattr(script.module, "irreversible", ""))
    ]
    if found:
        raise CommandError(
            "Nothing was rolled back. There is no way back from:\n"
            + "\n".join(found)
            + "\nWrite a new revision that leads on from there, or restore a backup. "
            "A development database can also start over: just db-reset"
        )
