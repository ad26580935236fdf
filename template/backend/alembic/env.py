"""Wires Alembic to this project. What happens when is explained in docs/database.md."""

from typing import Any

import alembic_postgresql_enum  # noqa: F401 - autogenerate sees enums; revisions may change them
from alembic import context

from app.migrate.autogenerate import finish_revision, render_item
from app.migrate.connection import connect
from app.migrate.errors import explained_errors
from app.migrate.metadata import target_metadata
from app.migrate.progress import Progress
from app.migrate.shadow import database_for

progress = Progress()

with explained_errors(context, progress):
    options: dict[str, Any] = {
        "target_metadata": target_metadata(context.config),
        "autogenerate_plugins": [
            "alembic.autogenerate.*",
            "alembic.ext.checkconstraint_byname",
        ],
        "compare_server_default": True,
        "include_schemas": True,
        "process_revision_directives": finish_revision,
        "render_item": render_item,
        "transaction_per_migration": True,
    }
    if context.is_offline_mode():
        context.configure(
            dialect_name="postgresql",
            dialect_opts={"paramstyle": "named"},
            literal_binds=True,
            **options,
        )
        with context.begin_transaction(), progress:
            context.run_migrations()
    else:
        with database_for(context.config) as settings, connect(settings) as connection, progress:
            context.configure(connection=connection, **options)
            with context.begin_transaction():
                context.run_migrations()
