"""What migrations compare with and name constraints by."""

from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import MetaData

from app.core.config import ConfigurationError
from app.db.naming import NAMING_CONVENTION
from app.migrate.config import running_command
from app.migrate.errors import describe_error

# These never look at the models, whose import takes about half of an upgrade's time.
WITHOUT_MODELS = {"current", "downgrade", "history", "show", "stamp", "upgrade"}


def target_metadata(config: Config) -> MetaData:
    """The models' metadata; for commands that need none, only its naming convention.

    Raises:
        CommandError: a model can't be imported; says which line of which file.
    """
    if running_command(config) in WITHOUT_MODELS:
        return MetaData(naming_convention=NAMING_CONVENTION)
    try:
        from app.db.base import metadata
    except ConfigurationError:
        raise
    except Exception as error:
        raise CommandError(f"The models can't be imported: {describe_error(error)}") from None
    return metadata
