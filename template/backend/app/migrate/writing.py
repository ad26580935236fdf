"""`just db-migrate`: writes new revisions, tries them, and refuses what is not to be applied so."""

from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from textwrap import indent

from alembic import command
from alembic.util import to_list

from app.core.files import PROJECT_DIR
from app.migrate.compare import Comparison, describe
from app.migrate.config import alembic_config
from app.migrate.fill_in import explain_places
from app.migrate.history import read_revisions, refuse_several_heads
from app.migrate.lint import refuse_unsafe
from app.migrate.proof import executed_before_filled_in, prove
from app.migrate.refusal import refused_unless_proved
from app.migrate.shadow_server import one_server
from app.migrate.template_update import template_message
from app.migrate.unanswered import refuse_unanswered, refuse_unfilled
from app.migrate.written import remember_written


def write_revisions(
    message: str, rename: list[str], drop: list[str], rename_constraints: bool
) -> None:
    """Writes the revisions that lead from the history to the models, and says so.

    Raises:
        CommandError: nothing can be written; or what is written is refused, which is recorded in
            the files; or what was refused before still is.
    """
    revisions = read_revisions()
    refuse_several_heads(revisions)
    refuse_unfilled(revisions)
    options = {"rename": rename, "drop": drop, "rename_constraints": rename_constraints}
    config = alembic_config(command.revision, autogenerate=True, **options)
    with one_server():
        message = message or template_message()
        with redirect_stdout(StringIO()):  # Alembic's notes about files and hooks
            returned = command.revision(config, message=message or None, autogenerate=True)
        written = [script for script in to_list(returned, default=[]) if script]
        if not written:
            refuse_unanswered()
            print("Nothing to do: the models equal the history.")
            return
        names, paths = [s.revision for s in written], [Path(s.path) for s in written]
        remember_written(paths)
        for path in paths:
            print(f"Wrote {path.relative_to(PROJECT_DIR)}")
        them = "it" if len(written) == 1 else "them"
        comparison: Comparison = config.attributes["comparison"]
        if comparison.left:
            known = read_revisions()
            places = [place for name in names for place in explain_places(known[name])]
            refuse_unsafe(
                executed_before_filled_in(paths),
                f"Fill in what is marked in {them}, then run: just db-check\n"
                + "\n".join([*places, describe(comparison.left), *comparison.reasons]),
            )
        with refused_unless_proved(paths):
            executed = prove(names, comparison)
    for captured in executed:
        print(f"{captured.revision} executes:\n{indent(captured.as_sql(), '    ')}")
    refuse_unsafe(executed)
    print(f"Review {them}, then apply {them} with: just db-upgrade")
