"""`just update`: python -m update, in an environment that has Copier."""

import sys
from argparse import ArgumentParser


def main() -> int:
    """Runs the command and returns the exit code: 1 with a message if it refuses or fails."""
    # Imported here: Ctrl-C may come meanwhile.
    from update.begin import begin, tell_news
    from update.errors import UpdateError
    from update.finish import finish

    parser = ArgumentParser(prog="just update", description=__doc__)
    parts = parser.add_mutually_exclusive_group()
    parts.add_argument(
        "--check", action="store_true", help="only tell: exit code 2 when there is a newer version"
    )
    parts.add_argument(
        "--continue", action="store_true", dest="go_on", help="go on after conflicts are resolved"
    )
    parser.add_argument("--vcs-ref", default="", metavar="REF", help="this version, not the newest")
    parser.add_argument(
        "--data", action="append", default=[], metavar="QUESTION=ANSWER", help="change an answer"
    )
    options = parser.parse_args()
    try:
        if options.check:
            return tell_news()
        if options.go_on:
            finish()
        else:
            begin(options.vcs_ref, options.data)
    except UpdateError as error:
        print(error, file=sys.stderr)
        return error.code
    except FileNotFoundError as error:
        print(f"{error.filename} is not installed.", file=sys.stderr)
        return 1
    return 0


try:
    sys.exit(main())
except KeyboardInterrupt:
    print("Interrupted.", file=sys.stderr)
    sys.exit(130)
