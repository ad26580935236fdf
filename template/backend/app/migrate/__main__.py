import signal
import sys


def run() -> int:
    """Answers what needs no long imports, or else hands over to the commands."""
    words = [word for word in sys.argv[1:] if word != "--json"]
    if words in (["upgrade"], ["upgrade", "head"], ["db-upgrade"], ["db-upgrade", "head"]):
        from app.migrate.up_to_date import newest_applied, say_nothing_to_apply

        if newest := newest_applied():
            say_nothing_to_apply(newest, as_json="--json" in sys.argv)
            return 0
    from app.migrate.cli import main

    return main()


# A container's first process ignores SIGTERM unless it handles it. Like Ctrl-C, this also cancels
# the statement that is running.
signal.signal(signal.SIGTERM, signal.default_int_handler)
try:
    sys.exit(run())
except KeyboardInterrupt:
    print("Interrupted.", file=sys.stderr)
    sys.exit(130)
