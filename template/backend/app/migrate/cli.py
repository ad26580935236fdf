"""The commands behind `just db-*`: `python -m app.migrate COMMAND`."""

import os
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from contextlib import nullcontext, redirect_stdout
from io import StringIO
from pathlib import Path
from textwrap import indent
from typing import Any

from alembic import command
from alembic.script import Script
from alembic.util import CommandError, to_list

from app.core.config import Settings, get_settings
from app.core.files import PROJECT_DIR, ConfigurationError
from app.migrate import scaffold
from app.migrate.compare import Comparison, describe
from app.migrate.config import alembic_config, script_directory
from app.migrate.development import is_typed
from app.migrate.errors import StoppedError, describe_error
from app.migrate.history import ancestors, one_writer, read_revisions, refuse_several_heads
from app.migrate.lint import refuse_unsafe
from app.migrate.progress import Progress
from app.migrate.proof import prove
from app.migrate.rebase import apply_moves, plan_moves, revisions_on_base
from app.migrate.repair import repair_revision
from app.migrate.reset import reset_database
from app.migrate.shadow_server import one_server
from app.migrate.squash import squash_history
from app.migrate.status import applied_revisions, describe_place, pending_revisions
from app.migrate.template_update import template_message

NAMED = "the database's name: where it is no development database, rows may be lost"


def migrate(message: list[str], rename: list[str], drop: list[str]) -> None:
    """Write the revisions that lead from the history to the models."""
    refuse_several_heads(read_revisions())
    words = " ".join(message).removeprefix("message=").strip()
    config = alembic_config(command.revision, autogenerate=True, rename=rename, drop=drop)
    with one_server():
        words = words or template_message()
        with redirect_stdout(StringIO()):  # Alembic's notes about files and hooks
            returned = command.revision(config, message=words or None, autogenerate=True)
        written = [script for script in to_list(returned, default=[]) if script]
        if not written:
            print("Nothing to do: the models equal the history.")
            return
        for script in written:
            print(f"Wrote {_shown(script.path)}")
        them = "it" if len(written) == 1 else "them"
        comparison: Comparison = config.attributes["comparison"]
        if comparison.left:
            raise CommandError(
                f"Fill in what is marked in {them}, then run: just db-check\n"
                + "\n".join([describe(comparison.left), *comparison.reasons])
            )
        executed = prove([script.revision for script in written], comparison)
    for captured in executed:
        print(f"{captured.revision} executes:\n{indent(captured.as_sql(), '    ')}")
    refuse_unsafe(executed)
    print(f"Review {them}, then apply {them} with: just db-upgrade")


def upgrade(target: str, json: bool, database: str) -> None:
    """Apply revisions up to a target."""
    _move(command.upgrade, target or "head", "Nothing to apply.", json, database=database)


def downgrade(target: str, json: bool, database: str) -> None:
    """Roll revisions back to a target."""
    _move(command.downgrade, target or "-1", "Nothing to roll back.", json, database=database)


def current() -> None:
    """Show the revision that the database is at."""
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
    revisions = read_revisions()
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


def repair(revision: str, note: str) -> None:
    """Accept that an applied revision's file is not what was applied."""
    print(repair_revision(revision, note))


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


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit code: 1 with a message if it refuses or fails."""
    parser = ArgumentParser(prog="python -m app.migrate", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(function: Callable[..., int | None]) -> ArgumentParser:
        subparser = commands.add_parser(function.__name__, help=function.__doc__)
        subparser.set_defaults(function=function)
        return subparser

    migrating = add(migrate)
    migrating.add_argument("message", nargs="*")
    migrating.add_argument("--rename", action="append", default=[], metavar="OLD:NEW")
    migrating.add_argument("--drop", action="append", default=[], metavar="OLD")
    # A table's name is the same to both, but here there may be several.
    migrating.add_argument("--drop-tables", action="extend", dest="drop", nargs="+")
    for moving, default in ((upgrade, "head"), (downgrade, "-1")):
        move = add(moving)
        move.add_argument("target", nargs="?", default=default)
        move.add_argument("--json", action="store_true", help="one line of JSON for each event")
        move.add_argument("--database", default="", metavar="NAME", help=NAMED)
    add(current)
    add(history)
    add(sql)
    add(check).add_argument("--json", action="store_true")
    where = add(rebase).add_mutually_exclusive_group()
    where.add_argument("revision", nargs="?", default="")
    where.add_argument("--onto", default="", metavar="REVISION")
    add(reset).add_argument("--database", default="", metavar="NAME", help=NAMED)
    repairing = add(repair)
    repairing.add_argument("revision")
    repairing.add_argument("--note", default="", help="why, for the ledger")
    add(squash).add_argument("target", nargs="?", default="")
    add(model).add_argument("name")

    values = vars(parser.parse_args(arguments))
    function = values.pop("function")
    try:
        with one_writer() if function in {migrate, rebase, squash} else nullcontext():
            code: int | None = function(**values)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    except StoppedError as error:
        print(error, file=sys.stderr)
        return 130
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
    config = alembic_config(alembic_command)
    progress = Progress(as_json=json)
    config.attributes.update(attributes, progress=progress)
    try:
        alembic_command(config, target.removeprefix("target="))
    except CommandError as error:
        name = get_settings().postgres_db
        if (
            not json
            and config.attributes.get("would_lose")
            and is_typed(name, f"{error}\nOr go on now.")
        ):
            _move(alembic_command, target, nothing, json, database=name)
            return
        progress.fail(str(error))
        raise
    progress.summarize(nothing)


def _count(revisions: Sequence[Script]) -> str:
    return f"{len(revisions)} revision{'' if len(revisions) == 1 else 's'}"


def _shown(path: str | Path) -> str:
    return str(Path(path).relative_to(PROJECT_DIR))
