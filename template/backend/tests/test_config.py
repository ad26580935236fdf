from pathlib import Path

import pytest

from app.core import config
from app.core.config import Settings, get_settings
from app.core.files import PROJECT_DIR, ConfigurationError
from app.migrate.up_to_date import read_address


@pytest.fixture
def secret_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(config, "SECRETS_DIRS", (tmp_path / "run", tmp_path))
    monkeypatch.delenv("POSTGRES_PASSWORD")
    monkeypatch.setattr(config, "get_settings", get_settings.__wrapped__)
    return tmp_path / "postgres_password.txt"


@pytest.mark.parametrize(
    "content", [b"p%w/#x", b"p%w/#x\n", b"p%w/#x\r\n", b"\xef\xbb\xbfp%w/#x\r\n"]
)
def test_a_secret_is_read_from_its_file(secret_file: Path, content: bytes) -> None:
    secret_file.write_bytes(content)
    assert config.get_settings().postgres_password.get_secret_value() == "p%w/#x"


@pytest.mark.parametrize("content", [b"", b"\n", b" \r\n", b"hid\nden", b"hid\xe4den"])
def test_a_broken_secret_is_refused_without_showing_it(secret_file: Path, content: bytes) -> None:
    secret_file.write_bytes(content)
    with pytest.raises(ConfigurationError) as failure:
        config.get_settings()
    assert str(secret_file) in str(failure.value)
    assert "hid" not in str(failure.value)


def test_a_missing_secret_is_named(secret_file: Path) -> None:
    with pytest.raises(ConfigurationError, match="just secrets"):
        config.get_settings()


def test_the_environment_beats_the_file(secret_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret_file.write_bytes(b"\xff broken")
    monkeypatch.setenv("POSTGRES_PASSWORD", "from the environment")
    assert config.get_settings().postgres_password.get_secret_value() == "from the environment"


def test_an_error_names_the_setting_and_hides_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_PORT", "hidden")
    with pytest.raises(ConfigurationError, match="POSTGRES_PORT") as failure:
        get_settings.__wrapped__()
    assert "hidden" not in str(failure.value)


@pytest.mark.parametrize("password", ["p%w/#x@:", "white space", "ünïcödé", "'\"$`\\", "%(here)s"])
def test_any_password_fits_into_the_address(password: str) -> None:
    settings = Settings.model_validate({"postgres_password": password})
    assert settings.database_url.password == password
    assert password not in str(settings.database_url)


@pytest.mark.parametrize("host", ["", "db.internal"])
def test_what_looks_for_pending_revisions_goes_to_the_same_database(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    for name in ("HOST", "PORT", "USER", "DB"):
        monkeypatch.delenv(f"POSTGRES_{name}")
    monkeypatch.setenv("postgres_migration_host", host)
    monkeypatch.setenv("POSTGRES_SSLROOTCERT", "secrets/ca.pem")
    settings = get_settings.__wrapped__().for_migrations()
    assert read_address() == {
        "host": settings.postgres_host,
        "port": str(settings.postgres_port),
        "user": settings.postgres_user,
        "dbname": settings.postgres_db,
        "password": settings.postgres_password.get_secret_value(),
        "sslmode": "disable",
        "sslrootcert": str(PROJECT_DIR / "secrets" / "ca.pem"),
    }
    assert settings.tls.items() <= read_address().items()
