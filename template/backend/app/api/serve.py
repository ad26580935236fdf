"""`just dev`: uvicorn, which reloads what changes, on the port of the settings."""

import errno
import socket
import sys

import uvicorn

from app.core.config import get_settings
from app.core.files import ConfigurationError


def serve(arguments: list[str]) -> None:
    """Runs uvicorn with its own arguments behind ours.

    Raises:
        SystemExit: a setting is wrong or the port can't be had; the message says what to do.
    """
    try:
        port = str(get_settings().api_port)
    except ConfigurationError as error:
        raise SystemExit(str(error)) from None
    app = ["--factory", "app.main:app_from_environment", "--reload", "--port", port]
    options = uvicorn.main.make_context("just dev", [*app, *arguments]).params
    if options["uds"] is None and options["fd"] is None:
        refuse_taken_port(options["host"], options["port"])
    uvicorn.main([*app, *arguments], prog_name="just dev")


def refuse_taken_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        # As uvicorn does: a port whose last connections are closing is not taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            problem = f"can't be used ({error})"
            if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
                problem = "is taken by another program"
            raise SystemExit(
                f"Port {port} on {host} {problem}. Choose another one: just dev --port "
                f"{port + 1}, or for good with a line in .env: API_PORT={port + 1}"
            ) from None


if __name__ == "__main__":
    serve(sys.argv[1:])
