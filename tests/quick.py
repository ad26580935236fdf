"""Runs a project's commands as `just` and `uv run` would, but for what starting Python costs.

Most of a command's time is the import of the same libraries. Servers that have imported them fork
for each command; what can't be run that way for certain goes the usual way.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import select
import signal
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

RECIPE = re.compile(r"^(db-\w+) \*\w+:\n    @uv run python -m (\S+) (\S+) \"\$@\"$", re.MULTILINE)


class Server:
    """A Python of the shared environment that is ready to run commands."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [
                Path(env["UV_PROJECT_ENVIRONMENT"]) / "bin" / "python",
                Path(__file__).with_name("command_server.py"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
            start_new_session=True,
        )

    def run(self, request: dict[str, Any], timeout: float) -> dict[str, Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        print(json.dumps(request), file=stdin, flush=True)
        if not select.select([stdout], [], [], timeout)[0]:
            self.kill()
            raise subprocess.TimeoutExpired(request["argv"], timeout)
        answer: dict[str, Any] = json.loads(stdout.readline())
        return answer

    def kill(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()


_idle: list[Server] = []


def run(
    env: Mapping[str, str], cwd: Path, argv: Sequence[str], input: str = "", timeout: float = 120
) -> tuple[int, str, str]:
    """Runs `uv run python ARGV` and gives its exit code and what it printed."""
    environment = env["UV_PROJECT_ENVIRONMENT"]
    request = {
        "cwd": str(cwd),
        "env": {
            **env,
            "PATH": f"{environment}/bin:{env['PATH']}",
            "VIRTUAL_ENV": environment,
        },
        "argv": list(argv),
        "input": input,
    }
    server = _idle.pop() if _idle else Server(env)
    answer = server.run(request, timeout)
    _idle.append(server)
    return answer["code"], answer["out"], answer["err"]


def behind(
    command: Sequence[str], env: Mapping[str, str], backend: Path, shared: str
) -> list[str] | None:
    """What Python is given in the end by a command in the project's folder; None: not known."""
    if env.get("UV_PROJECT_ENVIRONMENT") != shared or any(
        name.startswith(("PYTHON", "LC_", "LD_", "UV_RUN")) for name in env
    ):
        return None
    project, lock = backend / "pyproject.toml", backend / "uv.lock"
    if not lock.exists() or project.stat().st_mtime_ns > lock.stat().st_mtime_ns:
        return None
    match command:
        case ["just", recipe, *arguments] if known := recipes(
            (backend.parent / "justfile").read_text()
        ).get(recipe):
            return ["-m", *known, *arguments]
        case ["uv", "run", "alembic", *arguments]:
            return [f"{shared}/bin/alembic", *arguments]
    return None


@cache
def recipes(justfile: str) -> dict[str, tuple[str, str]]:
    """The recipes that do nothing else than to run a module's command, which stands for them."""
    confirmed = re.sub(r"^\[confirm.*(?:\n\[.*)*\n\S+.*\n.*", "", justfile, flags=re.MULTILINE)
    return {recipe: (module, name) for recipe, module, name in RECIPE.findall(confirmed)}


@atexit.register
def _stop() -> None:
    for server in _idle:
        server.kill()
