"""Lints the revisions that the base branch does not have, on a copy of the shadow database.

That nothing was found is remembered with it.
"""

from collections.abc import Collection, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

from alembic import command
from alembic.util import CommandError

from app.core.config import Settings, get_settings
from app.migrate.capture import Captured, captured_sql
from app.migrate.databases import connect_to_server
from app.migrate.git import base_branch, base_tips, git
from app.migrate.lint import lint
from app.migrate.rebase import in_order
from app.migrate.replay import run_quietly
from app.migrate.report import Outcome, failed, passed
from app.migrate.revision_file import Revision
from app.migrate.shadow import remember, remembered, shadow_database, temporary_database


def lint_unshared(
    revisions: Mapping[str, Revision], head: str, unshared: Collection[str]
) -> Outcome:
    """Runs them and looks at their SQL.

    Raises:
        CommandError: they can't be run, or squawk can't; see lint().
    """
    with shadow_database(get_settings()) as shadow, connect_to_server(shadow) as server:
        known = remembered(server, shadow.postgres_db)
        circumstances = _circumstances(unshared)
        if known.get("linted") == circumstances:
            return passed(f"{known['lint']}; unchanged since")
        line = _line(revisions, head, unshared)
        executed = _executed(shadow, [revisions[name] for name in line])
        findings = lint([executed[name] for name in line if name in unshared], revisions)
        if findings:
            return failed("not safe on a database that is in use", findings)
        accepted = sum(len(revisions[name].accepted) for name in unshared)
        detail = f"{len(unshared)} new revision{'' if len(unshared) == 1 else 's'}"
        detail += f", {accepted} accepted" if accepted else ""
        remember(server, shadow.postgres_db, {**known, "lint": detail, "linted": circumstances})
    return passed(detail)


def _circumstances(unshared: Collection[str]) -> str:
    """What, besides the history, the result depends on."""
    try:
        squawk = version("squawk-cli")
    except PackageNotFoundError:
        squawk = "none"
    commits = []
    with suppress(CommandError):  # no git
        commits = git("rev-parse", *base_tips(base_branch())).split()
    return " ".join([squawk, *commits, *sorted(unshared)])


def _line(revisions: Mapping[str, Revision], head: str, unshared: Collection[str]) -> list[str]:
    """The revisions from the first that is not shared up to the newest.

    All of them, where what is not shared is below a merge of branches.
    """
    line: list[str] = []
    parents: tuple[str, ...] = (head,)
    while not set(unshared) <= set(line):
        if len(parents) != 1:
            return [revision.revision for revision in in_order(list(revisions.values()))]
        line.append(parents[0])
        parents = revisions[parents[0]].parents
    return line[::-1]


def _executed(shadow: Settings, line: list[Revision]) -> dict[str, Captured]:
    """What the newest revisions execute, each in the state that the one before leaves."""
    start = next(iter(line[0].parents), "base")
    has_way_back = not any(revision.irreversible for revision in line)
    template = shadow.postgres_db if has_way_back else ""
    with temporary_database(shadow, "copy", template=template) as copy:
        if has_way_back:
            run_quietly(command.downgrade, copy, start)
        elif start != "base":
            run_quietly(command.upgrade, copy, start)
        with captured_sql() as executed:
            run_quietly(command.upgrade, copy, "head")
    return executed
