"""Where alembic.ini finds the revisions, from whatever folder alembic is called.

When there are none yet this says so: Alembic itself would print nothing at all. When one is missing
that another one follows, the commands that don't run env.py would end in a traceback.
"""

import sys
from pathlib import Path

from app.migrate import hooks  # noqa: F401 - registers what alembic.ini names

WITHOUT_ENVIRONMENT = {"branches", "edit", "heads", "history", "merge", "revision", "show"}

if not any((Path(__file__).resolve().parents[3] / "alembic" / "versions").glob("*.py")):
    print("There are no revisions yet. Write the first one with: just db-migrate", file=sys.stderr)

if WITHOUT_ENVIRONMENT & set(sys.argv):
    from app.migrate.history import read_revisions, refuse_gaps

    refuse_gaps(read_revisions())
