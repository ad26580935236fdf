"""A server that takes encrypted connections only: every command reaches it, or says what to type."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.conftest import Project, Result, free_port
from tests.test_embedded import wait_until

# The system's newest: the embedded one has no TLS. Never by way of PATH.
BIN = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
HBA = """
hostssl all app 127.0.0.1/32 scram-sha-256
hostssl all certified 127.0.0.1/32 cert
"""
API = """
import asyncio
from sqlalchemy import text
from app.core.config import get_settings
from app.db.engine import api_engine

async def look():
    async with api_engine(get_settings()).connect() as connection:
        print(await connection.scalar(
            text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")))

asyncio.run(look())
"""


def certificate(folder: Path, name: str, authority: str = "", alternative: str = "") -> None:
    """Makes NAME.pem and NAME.key, signed by an authority or by itself."""
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-noenc", "-days", "2"]
    command += ["-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem"]
    if authority:
        command += ["-CA", f"{authority}.pem", "-CAkey", f"{authority}.key"]
    if alternative:
        command += ["-addext", f"subjectAltName={alternative}"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    (folder / f"{name}.key").chmod(0o600)


@pytest.fixture
def tls_server(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """The folder of the certificates, and the port."""
    for name in ("authority", "stranger"):
        certificate(tmp_path, name)
    certificate(tmp_path, "server", "authority", "IP:127.0.0.1")
    certificate(tmp_path, "certified", "authority")
    # PostgreSQL does not run as root.
    run = ["unshare", "--user", "--map-user=65534", "--map-group=65534", "--"]
    run = run if os.geteuid() == 0 else []
    data, port = tmp_path / "data", free_port()
    (tmp_path / "password").write_text("p w")
    initdb: list[str | Path] = [
        BIN / "initdb",
        "-D",
        data,
        "-U",
        "app",
        "--auth=scram-sha-256",
        "--no-sync",
    ]
    initdb += [f"--pwfile={tmp_path / 'password'}", "--encoding=UTF8", "--locale=C"]
    subprocess.run([*run, *initdb], check=True, capture_output=True)
    (data / "pg_hba.conf").write_text(HBA)
    settings = {
        "port": port,
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "fsync": "off",
        "ssl": "on",
        "ssl_cert_file": tmp_path / "server.pem",
        "ssl_key_file": tmp_path / "server.key",
        "ssl_ca_file": tmp_path / "authority.pem",
    }
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [*run, BIN / "postgres", "-D", data, *options], stdout=log, stderr=log
        )
    try:
        wait_until(lambda: "ready to accept" in (tmp_path / "log").read_text())
        with psycopg.connect(
            host="127.0.0.1", port=port, user="app", password="p w", dbname="postgres",
            sslmode="require", autocommit=True,
        ) as connection:  # fmt: skip
            connection.execute("CREATE DATABASE book_club")
            connection.execute("CREATE ROLE certified LOGIN; GRANT app TO certified")
        yield tmp_path, port
    finally:
        process.terminate()
        process.wait(60)


def test_every_command_works_where_only_tls_is_taken(
    generate: Callable[..., Project], tls_server: tuple[Path, int]
) -> None:
    certificates, port = tls_server
    project = generate(dev_database="external")
    for name in [name for name in project.env if name.startswith("POSTGRES_")]:
        del project.env[name]
    project.write("secrets/postgres_password.txt", "p w\n")
    project.write("secrets/ca.pem", (certificates / "authority.pem").read_text())
    address = f"POSTGRES_HOST=127.0.0.1\nPOSTGRES_PORT={port}\nPOSTGRES_DB=book_club\n"
    project.write(
        ".env", f"{address}POSTGRES_SSLMODE=verify-full\nPOSTGRES_SSLROOTCERT=secrets/ca.pem\n"
    )
    assert "Marked" in project.just("start", "--mark", "book_club").ok().out
    project.just("db-upgrade").ok()
    quick = "from app.migrate.up_to_date import where_it_is; print(where_it_is())"
    assert "initial schema" in project.python(quick).ok().out
    project.just("db-model", "Widget").ok()
    project.just("db-migrate").ok()
    project.just("db-check").ok()
    project.just("db-upgrade").ok()
    project.just("--yes", "db-reset").ok()
    assert project.python(API).ok().out.strip() == "True"

    # The embedded programs have no TLS, others do.
    project.just("db-shell", "-Atc", "SELECT 1").refused("POSTGRES_BIN_DIR")
    debian: dict[str, Any] = {"POSTGRES_BIN_DIR": str(BIN)}
    assert project.just("db-shell", "-Atc", "SELECT 1", **debian).ok().out == "1\n"

    def current(**settings: Any) -> Result:
        return project.just("db-current", **settings)

    current(POSTGRES_SSLROOTCERT=str(certificates / "stranger.pem")).refused("POSTGRES_SSLROOTCERT")
    current(POSTGRES_SSLMODE="disable").refused("encrypted connections only", "POSTGRES_SSLMODE")
    current(POSTGRES_SSLMODE="full").refused("POSTGRES_SSLMODE", "'verify-full'")
    client: dict[str, Any] = {
        "POSTGRES_USER": "certified",
        "POSTGRES_SSLCERT": str(certificates / "certified.pem"),
    }
    current(**client).refused("POSTGRES_SSLKEY")
    client["POSTGRES_SSLKEY"] = str(certificates / "certified.key")
    current(**client).ok()
    assert project.just("db-shell", "-Atc", "SELECT user", **client, **debian).out == "certified\n"
