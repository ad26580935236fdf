"""Wires Alembic to this project. What happens when is explained in docs/database.md."""

from functools import partial
from typing import Any

import alembic_postgresql_enum  # noqa: F401 - autogenerate sees enums; revisions may change them
from alembic import context

from app.migrate import defaults, offline
from app.migrate.autogenerate import finish_revision, render_item
from app.migrate.compare import begin_comparison, is_compared
from app.migrate.config import changes_database
from app.migrate.connection import connect
from app.migrate.failures import explained_errors
from app.migrate.history import load_scripts
from app.migrate.isolation import without_models
from app.migrate.ledger import CREATE_LEDGER, recorder, refuse_other_version_table
from app.migrate.loss import refuse_losses
from app.migrate.metadata import compares_models, target_metadata
from app.migrate.progress import Progress
from app.migrate.runner import run_revisions
from app.migrate.shadow import database_for

progress = context.config.attributes.setdefault("progress", Progress())

with explained_errors(context, progress):
    options: dict[str, Any] = {
        "target_metadata": target_metadata(context.config),
        "autogenerate_plugins": [
            "alembic.autogenerate.*",
            "~alembic.autogenerate.defaults",
            defaults.NAME,
            "alembic.ext.checkconstraint_byname",
        ],
        "include_name": partial(is_compared, context.config),
        "include_schemas": True,
        "on_version_apply": [refuse_losses, recorder(progress), progress.finish],
        "process_revision_directives": finish_revision,
        "render_item": render_item,
        "transaction_per_migration": True,
    }
    if context.is_offline_mode():
        context.configure(
            dialect_name=offline.NAME,
            dialect_opts={"paramstyle": "named"},
            literal_binds=True,
            output_buffer=offline.Output(context.config.output_buffer),
            **options,
        )
        offline.print_values(context.get_context().connection)
        with without_models(), context.begin_transaction(), progress:
            context.execute(CREATE_LEDGER)
            context.run_migrations()
    else:
        with (
            without_models(),
            database_for(context.config) as settings,
            connect(settings) as connection,
            progress,
        ):

            def run() -> None:
                context.configure(connection=connection, **options)
                refuse_other_version_table(context.get_context())
                with context.begin_transaction():
                    context.run_migrations()

            if changes_database(context.config):
                run_revisions(context, connection, settings, progress, run)
            else:
                load_scripts(context.script)
                if compares_models(context.config):
                    context.config.attributes["comparison"] = begin_comparison(
                        context.config, settings, connection, options["target_metadata"]
                    )
                run()
