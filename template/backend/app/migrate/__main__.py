import sys

from app.migrate import interrupts


def run() -> int:
    """Answers what needs no long imports, or else hands over to the commands."""
    words = [word for word in sys.argv[1:] if word != "--json"]
    if words in (["upgrade"], ["upgrade", "head"], ["db-upgrade"], ["db-upgrade", "head"]):
        from app.migrate.up_to_date import say_nothing_to_apply, where_it_is

        if place := where_it_is():
            say_nothing_to_apply(place, as_json="--json" in sys.argv)
            return 0
    from app.migrate.cli import main

    return main()


interrupts.handle()
try:
    sys.exit(run())
except KeyboardInterrupt:
    print("Interrupted.", file=sys.stderr)
    sys.exit(interrupts.exit_code())
