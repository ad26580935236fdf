"""Runs `python -m app.migrate` commands without their imports' time: a fork for each command.

Started with a rendered project's Python. A line of JSON in, {"cwd", "env", "args"}; one out.
"""

import json
import os
import sys
import tempfile
import traceback
from typing import Any

# What a command imports from elsewhere; `app` itself is each project's own.
import alembic.command
import alembic_postgresql_enum
import psycopg
import pydantic_settings
import sqlalchemy.dialects.postgresql.psycopg
import sqlmodel

PRELOADED = (alembic, alembic_postgresql_enum, psycopg, pydantic_settings, sqlalchemy, sqlmodel)


def run(request: dict[str, Any]) -> None:
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.path.insert(0, request["cwd"])
    from app.migrate.cli import main

    code = main(request["args"])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


for line in sys.stdin:
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        pid = os.fork()
        if pid == 0:
            try:
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                run(json.loads(line))
            except SystemExit as end:
                os._exit(end.code if isinstance(end.code, int) else 1)
            except BaseException:
                traceback.print_exc()
                os._exit(99)
        _, status = os.waitpid(pid, 0)
        out.seek(0)
        err.seek(0)
        answer = {"code": os.waitstatus_to_exitcode(status), "out": out.read(), "err": err.read()}
    print(json.dumps(answer), flush=True)
