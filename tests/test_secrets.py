"""Secrets: made once, read from files, shown nowhere."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tests.conftest import Project, free_port


@pytest.fixture
def unset(project: Project) -> Project:
    """A project whose password is in its file instead of the environment."""
    password = project.env.pop("POSTGRES_PASSWORD")
    project.write("secrets/postgres_password.txt", password)
    return project


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_just_secrets_makes_what_is_missing_and_never_changes_it(project: Project) -> None:
    project.just("secrets").ok()
    path = project.path / "secrets" / "postgres_password.txt"
    value = path.read_text()
    assert len(value.strip()) >= 32
    assert mode(path) == 0o600
    assert mode(path.parent) == 0o700
    project.just("secrets").ok()
    assert path.read_text() == value
    path.write_text("")
    project.just("secrets").ok()
    assert path.read_text() == ""
    assert {file.name for file in path.parent.iterdir()} == {"README.md", path.name}


def test_other_secrets_are_read_but_not_made_up(unset: Project) -> None:
    unset.replace(
        "backend/app/core/config.py",
        "    postgres_password: SecretStr\n",
        "    postgres_password: SecretStr\n    api_key: SecretStr | None = None\n    other_key: SecretStr\n",
    )
    unset.just("secrets").ok()
    assert not (unset.path / "secrets" / "other_key.txt").exists()
    unset.just("db-current").refused("secret other_key is missing", "secrets/other_key.txt")
    unset.write("secrets/other_key.txt", "x")
    unset.write("secrets/api_key.txt", "from a file")
    said = unset.python(
        "from app.core.config import get_settings\nprint(get_settings().api_key.get_secret_value())"
    )
    assert said.ok().out == "from a file\n"


def test_two_at_once_make_one_secret(project: Project) -> None:
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(project.just("secrets").ok()))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum("Wrote" in result.out for result in results) == 1


def test_two_projects_have_two_secrets(generate: Callable[..., Project]) -> None:
    values = set()
    for _ in range(2):
        project = generate()
        project.just("secrets").ok()
        values.add((project.path / "secrets" / "postgres_password.txt").read_text())
    assert len(values) == 2


def test_the_secret_stays_out_of_git_and_out_of_the_answers(project: Project) -> None:
    project.just("secrets").ok()
    value = (project.path / "secrets" / "postgres_password.txt").read_text().strip()
    project.run("git", "init", "-q").ok()
    project.run("git", "add", "--all").ok()
    assert "secrets/README.md" in project.run("git", "ls-files").ok().out
    assert project.run("git", "grep", "--cached", "-l", "-e", value).code == 1


@pytest.mark.parametrize(
    ("before", "after"), [(b"", b"\n"), (b"", b"\r\n"), (b"\xef\xbb\xbf", b"\r\n")]
)
def test_an_editor_s_additions_are_tolerated(unset: Project, before: bytes, after: bytes) -> None:
    path = unset.path / "secrets" / "postgres_password.txt"
    path.write_bytes(before + path.read_bytes() + after)
    unset.just("db-current").ok()
    assert unset.just("db-shell", "-Atc", "SELECT 1").ok().out == "1\n"


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "is empty"),
        (b"  \n", "is empty"),
        (b"\xff\xfes\x00e\x00c\x00", "is not UTF-8"),
        (b"s3cret-\xe4", "is not UTF-8"),
        (b"s3cret-one\ntwo\n", "more than one line"),
        (None, "is missing"),
    ],
)
def test_a_broken_secret_is_refused_in_one_line(
    unset: Project, content: bytes | None, part: str
) -> None:
    path = unset.path / "secrets" / "postgres_password.txt"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    for recipe in (["db-current"], ["db-upgrade"], ["db-shell", "-c", "SELECT 1"]):
        refused = unset.just(*recipe).refused(str(path), part)
        assert "s3cret" not in refused.text
        message = [
            line for line in refused.err.splitlines() if not line.startswith("error: recipe")
        ]
        assert len(message) == 1
    assert part in unset.alembic("current").text


def test_a_secret_that_can_not_be_read_is_named(unset: Project) -> None:
    path = unset.path / "secrets" / "postgres_password.txt"
    path.unlink()
    path.mkdir()
    unset.just("db-current").refused(str(path), "Is a directory", "may read")


def test_the_api_says_in_one_line_what_is_missing(unset: Project) -> None:
    (unset.path / "secrets" / "postgres_password.txt").unlink()
    done = unset.run(
        "uv", "run", "uvicorn", "--factory", "app.main:app_from_environment", cwd=unset.backend
    )
    assert done.code != 0
    assert "just secrets" in done.err
    assert "Traceback" not in done.err


def test_the_environment_beats_the_file_and_dotenv(unset: Project) -> None:
    path = unset.path / "secrets" / "postgres_password.txt"
    password = path.read_text()
    path.write_bytes(b"\xff\xfe")
    unset.write(".env", "POSTGRES_PASSWORD=wrong\nPOSTGRES_PORT=1\n")
    unset.just("db-current", POSTGRES_PASSWORD=password).ok()


def test_a_setting_of_the_wrong_kind_is_named_without_its_value(project: Project) -> None:
    refused = project.just("db-current", POSTGRES_PORT="s3cret").refused("POSTGRES_PORT")
    assert "s3cret" not in refused.text


def test_production_reads_run_secrets(unset: Project, tmp_path: Path) -> None:
    """In a mount namespace of its own, so that this machine's /run/secrets stays as it is."""
    production = tmp_path / "production"
    production.mkdir()
    password = (unset.path / "secrets" / "postgres_password.txt").read_text()
    (production / "postgres_password").write_text(password)
    unset.write("secrets/postgres_password.txt", "that of development")
    script = (
        f"mount -t tmpfs none /run && mkdir /run/secrets && mount --bind '{production}' /run/secrets"
        " && exec just db-current"
    )
    done = unset.run("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script)
    assert "572de137043f" in done.ok().out


PASSWORDS = [
    "p%w/#x@:?",
    "  inner and outer blanks ",
    "ünïcödé 名前",
    "'\"$`\\$(id)",
    "%(here)s%",
    "-x",
]


@pytest.mark.parametrize("password", PASSWORDS)
def test_any_password_works_for_everything(generate: Callable[..., Project], password: str) -> None:
    project = generate()
    role = f"role_{os.getpid()}_{abs(hash(password))}"
    with project.connect() as connection:
        literal = password.replace("'", "''")
        connection.execute(f"CREATE ROLE {role} SUPERUSER LOGIN PASSWORD '{literal}'")
    try:
        del project.env["POSTGRES_PASSWORD"]
        project.env["POSTGRES_USER"] = role
        project.write("secrets/postgres_password.txt", password + "\n")
        project.just("db-upgrade").ok()
        project.alembic("check").ok()
        assert project.just("db-shell", "-Atc", "SELECT 1").ok().out == "1\n"
        project.python(
            "import asyncio, sqlalchemy\n"
            "from app.core.config import get_settings\n"
            "from app.db.engine import api_engine\n"
            "async def main():\n"
            "    async with api_engine(get_settings()).connect() as connection:\n"
            "        await connection.execute(sqlalchemy.text('SELECT 1'))\n"
            "asyncio.run(main())"
        ).ok()
    finally:
        project.env["POSTGRES_USER"] = "app"
        project.env["POSTGRES_PASSWORD"] = project.shared_password
        project.just("--yes", "db-reset").ok()
        with project.connect() as connection:
            shadows = connection.execute(
                "SELECT datname FROM pg_database WHERE pg_get_userbyid(datdba) = %s", [role]
            ).fetchall()
            for (name,) in shadows:
                connection.execute(f"DROP DATABASE {name}")
            connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_no_process_shows_the_secret(unset: Project) -> None:
    """While psql runs, the secret is in nobody's arguments and in nobody's environment."""
    password = (unset.path / "secrets" / "postgres_password.txt").read_text().strip()
    process = subprocess.Popen(
        ["just", "db-shell", "-c", "SELECT pg_sleep(2)"],
        cwd=unset.path,
        env=unset.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )
    seen = set()
    parent = psutil.Process(process.pid)
    while process.poll() is None:
        with contextlib.suppress(psutil.Error):  # a process may just have ended
            for child in [parent, *parent.children(recursive=True)]:
                assert password not in " ".join([*child.cmdline(), *child.environ().values()])
                seen.add(child.name())
    assert "psql" in seen


def test_no_file_has_the_secret_while_psql_runs_and_none_stays_when_it_is_killed(
    unset: Project, tmp_path: Path
) -> None:
    password = (unset.path / "secrets" / "postgres_password.txt").read_text().strip()
    unset.env["TMPDIR"] = str(tmp_path)
    onlooker = replace(unset, env={**unset.env, "POSTGRES_PASSWORD": password})
    process = subprocess.Popen(
        ["just", "db-shell", "-c", "SELECT pg_sleep(60)"],
        cwd=unset.path,
        env=unset.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )
    try:
        with onlooker.connect() as connection:
            waiting = "SELECT 1 FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)'"
            deadline = time.monotonic() + 60
            while not connection.execute(waiting).fetchone():
                assert process.poll() is None
                assert time.monotonic() < deadline
        kept = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert [path for path in kept if password.encode() in path.read_bytes()] == []
    finally:
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
        process.wait()
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in kept if password.encode() in path.read_bytes()] == []


def test_psql_goes_to_the_database_that_it_is_told_and_to_no_other(unset: Project) -> None:
    who = ("-Atc", "SELECT current_database() || ' ' || current_user")
    assert unset.just("db-shell", *who).ok().out == f"{unset.env['POSTGRES_DB']} app\n"
    for arguments in (["postgres"], ["-d", "postgres"], ["--dbname=postgres"]):
        assert unset.just("db-shell", *arguments, *who).ok().out == "postgres app\n"
    for arguments in (["nosuchdb"], ["-d", "nosuchdb"], ["postgresql:///nosuchdb"]):
        refused = unset.just("db-shell", *arguments, *who)
        assert refused.code == 2
        assert 'database "nosuchdb" does not exist' in refused.err
        assert refused.out == ""
    # Another role gets no password of this one.
    assert "no password supplied" in unset.just("db-shell", "-wU", "other", *who).err


TRACEBACKS = """
import asyncio, os, traceback
import sqlalchemy
from app.core.config import get_settings
from app.core.files import ConfigurationError
from app.db.engine import api_engine
from app.migrate.connection import migration_engine
from app.migrate.databases import connect_to_server

def shown(error):
    while error is not None:
        yield from traceback.TracebackException.from_exception(error, capture_locals=True).format()
        if error.__cause__ is not None:
            yield from shown(error.__cause__)
        error = error.__context__

def api(settings):
    async def main():
        async with api_engine(settings).connect() as connection:
            await connection.execute(sqlalchemy.text("SELECT nosuch"))
    asyncio.run(main())

def migrations(settings):
    with migration_engine(settings).connect() as connection:
        connection.execute(sqlalchemy.text("SELECT nosuch"))

def server(settings):
    with connect_to_server(settings, settings.postgres_db) as connection:
        connection.execute("SELECT nosuch")

changes = [{"postgres_port": 1}, {"postgres_host": "nowhere.invalid"}, {"postgres_db": "nosuch"},
           {"postgres_user": "nobody"}, {}]
for change in changes:
    for use in (api, migrations, server):
        try:
            use(get_settings().model_copy(update=change))
        except Exception as error:
            print(*shown(error), "CASE", sep="")

def settings():
    try:
        get_settings.__wrapped__()
    except ConfigurationError as error:
        print(*shown(error), "CASE", sep="")

os.environ["POSTGRES_PORT"] = "x"
settings()
os.environ["POSTGRES_PASSWORD"] = get_settings().postgres_password.get_secret_value()
settings()
"""


def test_no_traceback_shows_the_secret_not_even_with_local_variables(unset: Project) -> None:
    path = unset.path / "secrets" / "postgres_password.txt"
    password = path.read_text().strip()
    said = unset.python(TRACEBACKS).ok().out
    assert said.count("CASE") == 17
    assert "settings = Settings(" in said
    assert password not in said
    for broken in (f"{password}\nsecond", f"{password}\xff"):
        path.write_text(broken, encoding="latin-1")
        unset.env.pop("POSTGRES_PASSWORD", None)
        failed = unset.python(
            TRACEBACKS.partition("changes =")[0]
            + "try:\n    get_settings()\n"
            + "except ConfigurationError as error:\n    print(*shown(error))"
        )
        assert "Traceback" in failed.ok().out
        assert password not in failed.text


def test_a_folder_of_secrets_that_can_not_be_used_is_named(unset: Project) -> None:
    folder = unset.path / "secrets"
    kept = folder.rename(unset.path / "kept")
    folder.symlink_to("nowhere")
    for recipe in ("secrets", "db-current"):
        unset.just(recipe).refused(f"{folder} is a link to nowhere, which does not exist")
    folder.unlink()
    folder.write_text("")
    unset.just("secrets").refused(str(folder), "has to be a folder")
    folder.unlink()
    # Another user's: root's own home, or for root what a user without its rights may not enter.
    prefix: list[str] = []
    if os.geteuid() == 0:
        kept.rename(folder)
        os.chown(folder, 12345, 12345)
        folder.chmod(0o700)
        prefix = ["unshare", "--user"]
    else:
        folder.symlink_to("/root")
    for recipe in ("secrets", "db-current"):
        refused = unset.run(*prefix, "just", recipe).refused(str(folder))
        assert "Permission denied" in refused.err or "not permitted" in refused.err


def test_a_secret_that_is_a_link_to_nothing_is_named(unset: Project) -> None:
    path = unset.path / "secrets" / "postgres_password.txt"
    path.unlink()
    path.symlink_to("/nowhere/vault")
    for recipe in ("secrets", "db-current"):
        unset.just(recipe).refused(f"{path} is a link to /nowhere/vault", "delete the link")


def test_git_ignores_what_holds_secrets_and_rows_and_nothing_else(project: Project) -> None:
    project.run("git", "init", "-q").ok()
    ignored = [".env", ".env.local", ".env.production", "backend/.env", "backend/.env.test"]
    ignored += ["db.dump", "backend/db.dump.gz", "rows.sql.gz", "dump.sql", "prod-backup.sql"]
    kept = [".env.example", "backend/.env.example", "backend/app/report.sql", "seed.sql"]
    kept += ["backend/alembic/versions/x_dump_rows.py", "backend/app/dump.py", "docs/dump.md"]
    found = project.run("git", "check-ignore", "--no-index", *ignored, *kept).out.split()
    assert found == ignored


def test_a_token_in_the_template_s_address_is_warned_about_until_it_is_gone(
    project: Project,
) -> None:
    answers = (project.path / ".copier-answers.yml").read_text()
    clean = re.sub("_src_path: .*", "_src_path: https://git.example.org/t.git", answers)
    project.write(".copier-answers.yml", clean)
    assert project.just("setup").ok().err == ""
    with_token = clean.replace("https://", "https://oauth2:s3cret@")
    project.write(".copier-answers.yml", with_token)
    warning = project.just("setup").ok().err
    assert "_src_path in .copier-answers.yml has a password or token" in warning
    assert "s3cret" not in warning


def test_sql_and_errors_of_a_wrong_port_hide_the_secret(unset: Project) -> None:
    password = (unset.path / "secrets" / "postgres_password.txt").read_text().strip()
    for result in (
        unset.just("db-sql"),
        unset.just("db-current", POSTGRES_PORT=str(free_port())),
        unset.just("db-current", POSTGRES_HOST="nowhere.invalid"),
        unset.python(
            "from app.core.config import *; print(get_settings(), get_settings().database_url)"
        ),
    ):
        assert password not in result.text
