"""Alembic's configuration for calls from our own commands."""

from argparse import Namespace
from collections.abc import Callable
from typing import Any

from alembic.config import Config
from alembic.script import ScriptDirectory

from app.core.files import BACKEND_DIR
from app.migrate import hooks  # noqa: F401 - registers what alembic.ini names
from app.migrate.history import load_scripts
from app.migrate.isolation import without_models

# What a revision may ask for that runs under plain `alembic`, too: context.get_x_argument().
PLAIN: dict[str, Any] = {"x": None, "raiseerr": False, "name": "alembic", "config": None}


def alembic_config(command: Callable[..., Any], **options: Any) -> Config:
    """The configuration with which to call one of `alembic.command`'s functions, from any folder.

    Args:
        command: The function that will be called; env.py asks which one runs.
        options: What would be command-line options.
    """
    config = Config(
        BACKEND_DIR / "alembic.ini",
        cmd_opts=Namespace(cmd=(command, [], []), quiet=True, **{**PLAIN, **options}),
    )
    # Paths go through ini interpolation, where % is special.
    here = str(BACKEND_DIR).replace("%", "%%")
    config.file_config.set("DEFAULT", "here", here)
    config.set_main_option("script_location", f"{here}/alembic")
    return config


def script_directory() -> ScriptDirectory:
    """The revision files.

    Raises:
        CommandError: one is missing that another one follows.
    """
    scripts = ScriptDirectory.from_config(alembic_config(script_directory))
    with without_models():
        load_scripts(scripts)
    return scripts


def changes_database(config: Config) -> bool:
    """Whether the running command moves the database to another revision."""
    return running_command(config) in {"downgrade", "stamp", "upgrade"}


def running_command(config: Config | None) -> str:
    """The name of the Alembic command that env.py runs for; empty when it isn't known."""
    return config.cmd_opts.cmd[0].__name__ if config and config.cmd_opts else ""
