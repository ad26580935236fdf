"""The commands behind `just db-*`: `python -m app.migrate COMMAND`."""

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from alembic import command
from alembic.script import Script
from alembic.util import CommandError

from app.core.config import Settings, get_settings
from app.core.files import PROJECT_DIR, ConfigurationError
from app.migrate import interrupts, scaffold
from app.migrate.arguments import Command, read_arguments
from app.migrate.config import alembic_config, script_directory
from app.migrate.development import is_typed
from app.migrate.errors import StoppedError, describe_error
from app.migrate.history import (
    ancestors,
    one_writer,
    read_revision,
    read_revisions,
    refuse_gaps,
)
from app.migrate.integrity import place_ahead
from app.migrate.progress import Progress, stdout_for_events
from app.migrate.rebase import apply_moves, plan_moves, revisions_on_base
from app.migrate.refusal import describe_refusal
from app.migrate.relative import past_merge
from app.migrate.repair import repair_revision
from app.migrate.reset import reset_database
from app.migrate.squash import squash_history
from app.migrate.status import applied_revisions, describe_place, pending_revisions
from app.migrate.undo import undo_last
from app.migrate.writing import write_revisions


def migrate(
    message: list[str],
    named: str,
    rename: list[str],
    drop: list[str],
    rename_constraints: bool,
    undo: bool,
) -> None:
    """Write the revisions that lead from the history to the models."""
    words = " ".join([named, *message]).strip().removeprefix("message=").strip()
    if not undo:
        write_revisions(words, rename, drop, rename_constraints)
    elif words or rename or drop or rename_constraints:
        raise CommandError("Nothing was undone: --undo goes alone.")
    else:
        print(undo_last())


def upgrade(target: str, json: bool, accept: str | None, database: str) -> None:
    """Apply revisions up to a target."""
    target = target or "head"
    _move(command.upgrade, target, "Nothing to apply.", json, accept=accept, database=database)


def downgrade(target: str, json: bool, database: str) -> None:
    """Roll revisions back to a target."""
    target = past_merge(target.removeprefix("target=") or "-1")
    _move(command.downgrade, target, "Nothing to roll back.", json, database=database)


def current() -> None:
    """Show the revision that the database is at."""
    if place := place_ahead():
        print(place)
        return
    applied, scripts = applied_revisions(), script_directory()
    print(describe_place(applied, scripts))
    pending = pending_revisions(applied, scripts)
    if pending:
        print(f"{_count(pending)} pending, apply with: just db-upgrade")


def history() -> None:
    """List all revisions, newest first, and whether each is applied."""
    scripts = script_directory()
    revisions = list(scripts.walk_revisions())
    if not revisions:
        print("There are no revisions yet. Write the first one with: just db-migrate")
        return
    try:
        pending = {script.revision for script in pending_revisions(applied_revisions(), scripts)}
    except CommandError as error:
        pending = None
        print(error, file=sys.stderr)
    for script in revisions:
        state = "?" if pending is None else "pending" if script.revision in pending else "applied"
        print(f"{state:8} {script.revision}  {script.doc}  ({_shown(script.path)})")
        for rule, reason in getattr(script.module, "accepted", {}).items():
            print(f"{'':8} accepted {rule}: {reason}")
        for line in describe_refusal(read_revision(Path(script.path))):
            print(f"{'':8} refused {line}")


def sql() -> None:
    """Print the SQL of the pending revisions without running any of it."""
    applied, scripts = applied_revisions(), script_directory()
    if not pending_revisions(applied, scripts):
        print(f"-- Nothing pending. {describe_place(applied, scripts)}")
        return
    start = ",".join(applied)
    config = alembic_config(command.upgrade)
    # Printed only when it is whole.
    config.output_buffer = StringIO()
    command.upgrade(config, f"{start}:heads" if start else "heads", sql=True)
    printed = config.output_buffer.getvalue()
    # It is there after a downgrade to base, and Alembic would create it again.
    first, again = "CREATE TABLE alembic_version (", "CREATE TABLE IF NOT EXISTS alembic_version ("
    print(printed.replace(first, again), end="")


def check(json: bool) -> int:
    """Tell whether the history can be trusted; 1 when it can't."""
    from app.migrate.check import run_checks
    from app.migrate.report import all_passed, as_json, lines, summary

    results = []
    output = sys.stdout
    with redirect_stdout(sys.stderr):  # what models print when they are imported
        for result in run_checks():
            results.append(result)
            if not json:
                print(lines(result), file=output, flush=True)
    print(as_json(results) if json else summary(results))
    return 0 if all_passed(results) else 1


def rebase(revision: str, onto: str) -> None:
    """Put the revisions of this branch after those of the base branch, or after a revision."""
    if onto and revision:
        raise CommandError(f"Nothing was moved: after {revision} or after {onto}? Name one.")
    revisions = read_revisions()
    refuse_gaps(revisions)
    onto = onto or revision
    base = ancestors(revisions, onto) if onto else revisions_on_base() & revisions.keys()
    try:
        applied = set(applied_revisions())
    except CommandError as error:
        print(f"Not checked against the development database: {error}", file=sys.stderr)
        applied = set()
    known = applied & revisions.keys()
    done = {name for head in known for name in ancestors(revisions, head)}
    moves = plan_moves(revisions, base, done)
    newest = apply_moves(revisions, moves)
    for move in moves:
        print(f"{_shown(move.revision.path)} follows {move.parent} now.")
    print(f"The newest revision is {newest}.")
    if moves:
        print("Review the change, then check it with: just db-check")


def reset(database: str) -> None:
    """Drop the database, create it again and apply all revisions."""

    def build(new: Settings) -> None:
        _move(command.upgrade, "head", "Nothing to apply.", json=False, settings=new)

    reset_database(get_settings().for_migrations(), database, build)


def repair(revision: str, words: list[str], note: str) -> None:
    """Accept that an applied revision's file is not what was applied."""
    print(repair_revision(revision, " ".join([note, *words]).strip()))


def squash(target: str) -> None:
    """Put one first revision in place of the history so far."""
    path, count = squash_history(target)
    print(f"Wrote {_shown(path)} in place of {count} files.")
    print("Review it, then commit it. A database that is not there yet needs the release before.")


def model(name: str) -> None:
    """Write a model's file and its two registration lines."""
    for path in scaffold.add_model(name):
        print(f"Wrote {_shown(path)}")
    print("Add its fields, then write a revision with: just db-migrate")


COMMANDS: list[Command] = [
    migrate,
    upgrade,
    downgrade,
    current,
    history,
    sql,
    check,
    rebase,
    reset,
    repair,
    squash,
    model,
]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit code: 1 with a message if it refuses or fails."""
    words = sys.argv[1:] if arguments is None else arguments
    function, values = read_arguments({one.__name__: one for one in COMMANDS}, words)
    try:
        with one_writer() if function in {migrate, rebase, squash} else nullcontext():
            code: int | None = function(**values)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return interrupts.exit_code()
    except StoppedError as error:
        print(error, file=sys.stderr)
        return error.code
    except BrokenPipeError:
        # The reader, `head` for one, has seen enough. Python would complain when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (CommandError, ConfigurationError, scaffold.ScaffoldError) as error:
        print(error, file=sys.stderr)
    except Exception as error:
        # Alembic loads revision files by running them: anything may come up.
        print(describe_error(error), file=sys.stderr)
    else:
        return code or 0
    return 1


def _move(
    alembic_command: Callable[..., None], target: str, nothing: str, json: bool, **attributes: Any
) -> None:
    target = target.removeprefix("target=")
    config = alembic_config(alembic_command, revision=target)
    with stdout_for_events() if json else nullcontext() as events:
        progress = Progress(events)
        config.attributes.update(attributes, progress=progress)
        try:
            alembic_command(config, target)
        except CommandError as error:
            name = get_settings().postgres_db
            if (
                not json
                and config.attributes.get("would_lose")
                and is_typed(name, f"{error}\nOr go on now.")
            ):
                _move(alembic_command, target, nothing, json, **{**attributes, "database": name})
                return
            progress.fail(str(error))
            raise
        progress.summarize(nothing)


def _count(revisions: Sequence[Script]) -> str:
    return f"{len(revisions)} revision{'' if len(revisions) == 1 else 's'}"


def _shown(path: str | Path) -> str:
    return str(Path(path).relative_to(PROJECT_DIR))
