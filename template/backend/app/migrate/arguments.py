"""What may be typed after `just db-…` and after `python -m app.migrate …`: the same, either way."""

from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Command = Callable[..., int | None]

NAMED = "the database's name: where it is no development database, rows may be lost"


def read_arguments(
    commands: Mapping[str, Command], typed: Sequence[str]
) -> tuple[Command, dict[str, Any]]:
    """The command to run, with its arguments. Wrong usage and `--help` end the process.

    Args:
        typed: A recipe gives its own name, `db-migrate` for `migrate`: help and usage have it.
    """
    recipe = "db-" if typed and typed[0].startswith("db-") else ""
    prog = "just" if recipe else "python -m app.migrate"
    parser = ArgumentParser(prog=prog, description="The commands behind the recipes just db-*.")
    names = parser.add_subparsers(required=True, metavar="COMMAND")
    parsers = {}
    for name, function in commands.items():
        parsers[recipe + name] = names.add_parser(
            recipe + name,
            prog=f"{prog} {recipe}{name}",
            help=function.__doc__,
            description=function.__doc__,
            allow_abbrev=False,
        )
        if name in ARGUMENTS:
            ARGUMENTS[name](parsers[recipe + name])
    if not typed or typed[0] not in parsers:
        parser.parse_args(typed)  # helps or complains
    # Options may come between the words of a message.
    values = vars(parsers[typed[0]].parse_intermixed_args(typed[1:]))
    return commands[typed[0].removeprefix(recipe)], values


def _migrate(parser: ArgumentParser) -> None:
    parser.add_argument("message", nargs="*", default=[], help="what the revision is named after")
    parser.add_argument("-m", "--message", dest="named", default="", metavar="MESSAGE", help="same")
    parser.add_argument(
        "--rename",
        action="append",
        default=[],
        metavar="OLD:NEW",
        help="a table, or a column such as users.name, has another name now",
    )
    parser.add_argument(
        "--drop", action="append", default=[], metavar="OLD", help="it is not renamed: drop it"
    )
    parser.add_argument(
        "--rename-constraints",
        action="store_true",
        help="give constraints and indexes the names that the models' convention has for them",
    )
    # A table's name is the same to both, but here there may be several.
    parser.add_argument(
        "--drop-tables",
        action="extend",
        dest="drop",
        nargs="+",
        metavar="TABLE",
        help="drop these tables, with their rows",
    )
    parser.add_argument(
        "--undo",
        action="store_true",
        help="delete what db-migrate wrote last, if nobody else has it and it is not applied",
    )


def _upgrade(parser: ArgumentParser) -> None:
    _target(parser, "head", "a revision, or +1 for the next one; default: the newest")
    parser.add_argument(
        "--accept",
        type=_reason,
        metavar="REASON",
        help="in an emergency: apply what db-migrate refused; the ledger keeps the reason",
    )


def _downgrade(parser: ArgumentParser) -> None:
    _target(parser, "-1", "a revision, -2 for two back, or base; default: one back")


def _target(parser: ArgumentParser, default: str, help: str) -> None:
    parser.add_argument("target", nargs="?", default=default, help=help)
    _json(parser)
    _database(parser)


def _database(parser: ArgumentParser) -> None:
    parser.add_argument("--database", default="", metavar="NAME", help=NAMED)


def _json(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON, for machines")


def _rebase(parser: ArgumentParser) -> None:
    parser.add_argument("revision", nargs="?", default="", help="same as --onto")
    parser.add_argument(
        "--onto",
        default="",
        metavar="REVISION",
        help="the revision to follow; default: the base branch's newest",
    )


def _repair(parser: ArgumentParser) -> None:
    parser.add_argument("revision", help="the revision whose file is not what was applied")
    parser.add_argument("words", nargs="*", default=[], metavar="note", help="why, for the ledger")
    parser.add_argument("--note", default="", help="same")


def _squash(parser: ArgumentParser) -> None:
    parser.add_argument("target", nargs="?", default="", help="the last one; default: the newest")


def _model(parser: ArgumentParser) -> None:
    parser.add_argument("name", help="the class's name, such as OrderItem")


def _reason(text: str) -> str:
    if not text.strip():
        raise ArgumentTypeError("the ledger needs a reason")
    return text


ARGUMENTS: dict[str, Callable[[ArgumentParser], None]] = {
    "migrate": _migrate,
    "upgrade": _upgrade,
    "downgrade": _downgrade,
    "check": _json,
    "rebase": _rebase,
    "reset": _database,
    "repair": _repair,
    "squash": _squash,
    "model": _model,
}
