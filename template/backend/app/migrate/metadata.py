"""What migrations compare with and name constraints by."""

from alembic.config import Config
from sqlalchemy import MetaData

from app.db.naming import REVISIONS_CONVENTION
from app.migrate.config import running_command

# These never look at the models, whose import takes about half of an upgrade's time.
WITHOUT_MODELS = {"current", "downgrade", "history", "show", "stamp", "upgrade"}


def compares_models(config: Config) -> bool:
    """Whether the running command compares the models with the history."""
    return running_command(config) not in WITHOUT_MODELS


def target_metadata(config: Config) -> MetaData:
    """The models' metadata; for commands that need none, only its naming convention.

    Raises:
        CommandError: a model can't be imported, or is not as it has to be.
    """
    if not compares_models(config):
        return MetaData(naming_convention=REVISIONS_CONVENTION)
    # Imported here: commands without models should not wait for SQLModel.
    from app.migrate.registry import load_models

    return load_models()
