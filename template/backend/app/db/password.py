"""Hands the password to the driver so that no traceback shows it, one with local variables neither."""

from collections.abc import Callable
from functools import partial
from typing import Any

from pydantic import SecretStr
from sqlalchemy import URL, Engine, event
from sqlalchemy.engine.interfaces import Dialect


def with_password(connect: Callable[..., Any], password: SecretStr, **parameters: Any) -> Any:
    """What `connect` returns. Its exceptions come without the frames of the driver: these hold it."""
    try:
        return connect(**parameters, password=password.get_secret_value())
    except BaseException as error:
        error.__context__ = None
        raise error.with_traceback(None) from None


def without_password(url: URL) -> URL:
    """The address for an engine that gets its password from `provide_password`."""
    return url._replace(password=None)


def provide_password(engine: Engine, password: SecretStr) -> None:
    """Gives an engine the password for each connection; its address would show it to every frame."""

    @event.listens_for(engine, "do_connect")
    def connect(
        dialect: Dialect, record: Any, arguments: list[Any], parameters: dict[str, Any]
    ) -> Any:
        return with_password(partial(dialect.connect, *arguments), password, **parameters)
