import pytest
from alembic import command

from app.migrate.config import alembic_config, script_directory


def test_history_has_one_head() -> None:
    assert len(script_directory().get_heads()) == 1


@pytest.mark.usefixtures("empty_database")
def test_every_revision_goes_up_and_down_and_up_again() -> None:
    command.upgrade(alembic_config(command.upgrade), "head")
    command.downgrade(alembic_config(command.downgrade), "base")
    command.upgrade(alembic_config(command.upgrade), "head")


@pytest.mark.usefixtures("empty_database")
def test_models_equal_the_history() -> None:
    command.upgrade(alembic_config(command.upgrade), "head")
    command.check(alembic_config(command.check))
