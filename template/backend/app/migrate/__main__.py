import signal
import sys

from app.migrate.cli import main

# A container's first process ignores SIGTERM unless it handles it. Like Ctrl-C, this also cancels
# the statement that is running.
signal.signal(signal.SIGTERM, signal.default_int_handler)
sys.exit(main())
