<%
    # The message becomes part of a docstring: escape what would end it.
    doc = (message or "empty message").replace("\\", "\\\\").replace('""', '\\"\\"')
    if doc.endswith('"'):
        doc = doc[:-1] + '\\"'
    own = [line for line in (imports or "").splitlines() if line.startswith(("from app.", "import app."))]
    others = [line for line in (imports or "").splitlines() if line not in own]
%>"""${doc}

Revision ID: ${up_revision}
Revises: ${down_revision | comma,n}
Create Date: ${create_date}
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
% for line in others:
${line}
% endfor
% if own:

% for line in own:
${line}
% endfor
% endif

revision: str = ${repr(up_revision)}
down_revision: str | Sequence[str] | None = ${repr(down_revision)}
branch_labels: str | Sequence[str] | None = ${repr(branch_labels)}
depends_on: str | Sequence[str] | None = ${repr(depends_on)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
