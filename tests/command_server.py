"""Runs Python commands of rendered projects without their imports' time: a fork for each command.

Started with a rendered project's Python. A line of JSON in, {"cwd", "env", "argv", "input"} with
argv as Python takes it (-m MODULE … or a script's path …); one out.
"""

import json
import os
import runpy
import sys
import tempfile
from typing import Any, NoReturn

# What a command imports from elsewhere; `app` itself is each project's own.
import alembic.command
import alembic.config
import alembic_postgresql_enum
import psycopg
import pydantic_settings
import sqlalchemy.dialects.postgresql.psycopg
import sqlmodel

PRELOADED = (alembic, alembic_postgresql_enum, psycopg, pydantic_settings, sqlalchemy, sqlmodel)


def become(request: dict[str, Any]) -> NoReturn:
    """Is from here on the Python that was asked for, up to its end."""
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    match request["argv"]:
        case ["-m", module, *arguments]:
            sys.path[0] = request["cwd"]
            sys.argv = [module, *arguments]
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        case [script, *arguments]:
            sys.path[0] = os.path.dirname(script)
            sys.argv = [script, *arguments]
            runpy.run_path(script, run_name="__main__")
    sys.exit(0)


while line := sys.stdin.readline():
    request = json.loads(line)
    with (
        tempfile.TemporaryFile("w+") as given,
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as err,
    ):
        given.write(request["input"])
        given.seek(0)
        pid = os.fork()
        if pid == 0:
            os.dup2(given.fileno(), 0)
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
            become(request)
        _, status = os.waitpid(pid, 0)
        out.seek(0)
        err.seek(0)
        code = os.waitstatus_to_exitcode(status)
        answer = {"code": code, "out": out.read(), "err": err.read()}
    print(json.dumps(answer), flush=True)
