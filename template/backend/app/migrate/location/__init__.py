"""Where alembic.ini finds the revisions, from whatever folder alembic is called.

When there are none yet this says so: Alembic itself would print nothing at all.
"""

import sys
from pathlib import Path

from app.migrate import hooks  # noqa: F401 - registers what alembic.ini names

if not any((Path(__file__).resolve().parents[3] / "alembic" / "versions").glob("*.py")):
    print("There are no revisions yet. Write the first one with: just db-migrate", file=sys.stderr)
