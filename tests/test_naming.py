from __future__ import annotations

import ast
import json
import tomllib

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from extensions import naming, surroundings
from tests.conftest import Project

# What line_problem lets through: one line without control characters.
lines = st.text().filter(lambda text: not naming.line_problem(text, 10_000, "x"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Book Club", "book-club"),
        ("  Été à Paris! ", "ete-a-paris"),
        ("2fast 4you", "fast-4you"),
        ("-rf /", "rf"),
        ("🚀", ""),
        ("مشروع", ""),
        ("Fast_API", "fast-api"),
        ("Pydantic_Core", "pydantic-core"),
        ("x" * 200, "x" * 50),
        ("a" * 49 + " b", "a" * 49),
    ],
)
def test_a_slug_is_made_of_any_text(text: str, expected: str) -> None:
    assert naming.slug(text) == expected


@given(st.text())
def test_every_slug_is_a_valid_slug_or_another_one_is_asked_for(text: str) -> None:
    problem = naming.slug_problem(naming.slug(text))
    if problem:
        assert naming.slug_problem(problem.rpartition("--data project_slug=")[2]) == ""
        assert naming.slug(text) in {"", *naming.PACKAGES}


@given(st.text())
def test_every_identifier_is_a_valid_identifier(text: str) -> None:
    assert naming.sql_identifier_problem(naming.sql_identifier(text)) == ""


@given(st.text())
def test_the_example_in_a_refusal_is_accepted(text: str) -> None:
    problem = naming.sql_identifier_problem(text)
    if problem:
        assert naming.sql_identifier_problem(problem.rpartition("Example: ")[2]) == ""


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("user", "reserved word"),
        ("Users", "Lower-case"),
        ("1st", "no digit first"),
        ("a-b", "Lower-case"),
        ("", "Lower-case"),
        ("x" * 64, "63 bytes"),
        ("postgres", "server itself"),
        ("pg_stuff", "server itself"),
        ("ü" * 40, "63 bytes"),
    ],
)
def test_a_bad_database_name_is_explained(name: str, part: str) -> None:
    assert part in naming.sql_identifier_problem(name)


@pytest.mark.parametrize("name", ["book_club", "_x", "a1", "x" * 63])
def test_a_good_database_name_is_accepted(name: str) -> None:
    assert naming.sql_identifier_problem(name) == ""


def test_reserved_words_are_those_of_the_server(project: Project) -> None:
    with project.connect() as connection:
        rows = connection.execute(
            "SELECT word FROM pg_get_keywords() WHERE catcode IN ('R', 'T')"
        ).fetchall()
    assert {word for (word,) in rows} == naming.RESERVED_WORDS


@pytest.mark.parametrize(
    "text", ["", " x", "x ", "a\nb", "a\x07b", "a\u2028b", "a\u202eb", "x" * 9]
)
def test_a_text_that_breaks_a_line_is_explained(text: str) -> None:
    assert "Example: ok" in naming.line_problem(text, 8, "ok")


@pytest.mark.parametrize("text", ["x", "O'Neil", '{{ "', "👩‍💻", "مشروع", "-x"])
def test_an_unusual_line_is_accepted(text: str) -> None:
    assert naming.line_problem(text, 8, "ok") == ""


@pytest.mark.parametrize("address", ["", "ada@example.org", "o'neil+x@sub.example.org"])
def test_an_address_is_accepted(address: str) -> None:
    assert naming.email_problem(address) == ""


@pytest.mark.parametrize("address", ["ada", "ada@", "@example.org", "a b@example.org", "a@b@c.d"])
def test_a_bad_address_is_explained(address: str) -> None:
    assert "ada@example.org" in naming.email_problem(address)


@given(lines)
def test_a_json_string_reads_back_in_json_yaml_and_toml(text: str) -> None:
    literal = naming.json_string(text)
    assert json.loads(literal) == text
    assert yaml.safe_load(literal) == text
    assert tomllib.loads(f"x = {literal}")["x"] == text


@given(lines)
def test_a_python_string_reads_back(text: str) -> None:
    assert ast.literal_eval(naming.python_string(text)) == text


@given(st.text())
def test_a_port_is_stable_and_in_range(text: str) -> None:
    assert naming.FIRST_PORT <= naming.port(text) < naming.LAST_PORT
    assert naming.port(text) == naming.port(text)


def test_two_projects_get_two_ports() -> None:
    assert naming.port("book-club") != naming.port("book-shop")


def test_git_config_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "user.name")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "Ada Lovelace")
    assert surroundings.git_config("user.name") == "Ada Lovelace"


def test_a_machine_without_git_has_no_author(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert surroundings.git_config("user.name") == ""


def test_no_package_that_a_project_installs_is_a_name_for_one(project: Project) -> None:
    lock = tomllib.loads((project.backend / "uv.lock").read_text())
    installed = {package["name"] for package in lock["package"]} - {"book-club"}
    assert installed - naming.PACKAGES == set()
    for name in installed:
        assert f"--data project_slug={name}-app" in naming.slug_problem(name)


@pytest.mark.parametrize(
    ("address", "without"),
    [
        ("https://oauth2:glpat-x@git.example.org/t.git", "https://git.example.org/t.git"),
        ("git+https://ada:s%2F3@git.example.org/t.git", "git+https://git.example.org/t.git"),
        ("https://x:p@ss@git.example.org:8443/t", "https://git.example.org:8443/t"),
        ("https://ghp_0123456789abcdef0123@github.com/a/t", "https://github.com/a/t"),
        ("https://git.example.org/t.git?private_token=x", "https://git.example.org/t.git"),
    ],
)
def test_a_secret_in_an_address_is_found(address: str, without: str) -> None:
    assert surroundings.without_secret(address) == without


@pytest.mark.parametrize(
    "address",
    [
        "https://git.example.org:8443/a/t.git",
        "https://ada@git.example.org/t.git",
        "ssh://git@git.example.org:22/a/t",
        "git@git.example.org:a/t.git",
        "gh:a/t",
        "/srv/a@b:c/t",
    ],
)
def test_an_address_without_a_secret_stays_as_it_is(address: str) -> None:
    assert surroundings.without_secret(address) == address
