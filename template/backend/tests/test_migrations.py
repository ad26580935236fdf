import pytest
from alembic import command

from app.migrate.config import alembic_config
from app.migrate.history import LATEST, heads, read_revisions
from app.migrate.registry import load_models


def test_history_has_one_head_which_is_recorded() -> None:
    assert heads(read_revisions()) == [LATEST.read_text(encoding="utf-8").strip()]


def test_every_model_is_registered() -> None:
    load_models()


@pytest.mark.usefixtures("empty_database")
def test_every_revision_goes_up_and_down_and_up_again() -> None:
    command.upgrade(alembic_config(command.upgrade), "head")
    command.downgrade(alembic_config(command.downgrade), "base")
    command.upgrade(alembic_config(command.upgrade), "head")


@pytest.mark.usefixtures("empty_database")
def test_models_equal_the_history() -> None:
    command.upgrade(alembic_config(command.upgrade), "head")
    command.check(alembic_config(command.check))
