"""No value is cut, rounded or changed unasked, neither on the way up nor on the way down."""

from __future__ import annotations

import json
import re

import pytest
from psycopg.conninfo import make_conninfo

from tests.conftest import Project, accept
from tests.test_autogenerate import register

# A type, another one, values of the first, and how many of them the second one does not hold;
# None where it is known to hold every value.
CHANGES: list[tuple[str, str, str, int | None]] = [
    ("varchar(10)", "varchar(5)", "'abcdefghij' | 'ab' | 'abcde   ' | NULL", 2),
    ("varchar(10)", "varchar(20)", "'abcdefghij' | 'ab  '", None),
    ("varchar(10)", "text", "'abcdefghij'", None),
    ("text", "varchar", "'abcdefghij'", None),
    ("text", "varchar(5)", "'abcdefghij' | 'ab'", 1),
    ("varchar", "name", "'a' | repeat('b', 70)", 1),
    ("varchar(10)[]", "varchar(5)[]", "'{abcdefghij}' | '{a,b}' | '{}' | NULL", 1),
    ("varchar(5)[]", "text[]", "'{abc}'", None),
    ("bigint[]", "integer[]", "'{1,9999999999}' | '{1}'", 1),
    ("text[]", "text", "'{a}'", None),
    ("bit(8)", "bit(4)", "B'11110000' | NULL", 1),
    ("bit(4)", "bit(8)", "B'1111'", 1),
    ("varbit(8)", "varbit(4)", "B'11110000' | B'1'", 1),
    ("varbit(4)", "varbit(8)", "B'1111'", None),
    ("bit(4)", "varbit", "B'1111'", None),
    ("text", "char(3)", "'abcd' | 'ab ' | 'ab' | NULL", 2),
    ("char(6)", "char(4)", "'abcdef' | 'ab'", 1),
    ("char(4)", "char(6)", "'ab'", None),
    ("char(4)", "varchar(4)", "'abcd'", None),
    ("double precision", "integer", "1.5 | 2 | 1e10 | 'NaN' | NULL", 3),
    ("numeric", "integer", "1.5 | 2 | 1e10", 2),
    ("real", "bigint", "0.5 | 2", 1),
    ("bigint", "integer", "9999999999 | 1", 1),
    ("integer", "smallint", "-32768 | 32768", 1),
    ("integer", "bigint", "1", None),
    ("integer", "double precision", "2147483647", None),
    ("integer", "real", "16777217 | 1", 1),
    ("bigint", "double precision", "9007199254740993 | 1", 1),
    ("smallint", "real", "32767", None),
    ("integer", "numeric(12,2)", "2147483647", None),
    ("integer", "numeric(6,2)", "2147483647 | 9999 | 10000", 2),
    ("numeric(8,3)", "numeric(8,2)", "1.234 | 1.23 | NULL", 1),
    ("numeric(8,2)", "numeric(8,3)", "999999.99 | 1.23", 1),
    ("numeric(8,2)", "numeric(10,3)", "999999.99", None),
    ("numeric(8,2)", "numeric", "1.23", None),
    ("numeric(8,2)", "double precision", "1.23", 0),
    ("numeric", "double precision", "1.2345678901234567890123 | 1", 1),
    ("double precision", "numeric(8,2)", "1.234 | 1.23 | 1e9", 2),
    ("double precision", "real", "0.1 | 0.5 | 1e300", 2),
    ("real", "double precision", "0.5", None),
    ("timestamptz", "date", "'2026-01-01 10:30Z' | '2026-01-01 00:00Z'", 1),
    ("timestamptz", "timestamp", "'2026-01-01 10:30Z'", 0),
    ("timestamp", "timestamptz", "'2026-01-01 10:30'", 0),
    ("timestamp", "date", "'2026-01-01 10:30' | '2026-01-01'", 1),
    ("timestamp", "timestamp(0)", "'2026-01-01 10:30:00.5' | '2026-01-01'", 1),
    ("timestamp(0)", "timestamp", "'2026-01-01 10:30:00'", None),
    ("timestamp", "time", "'2026-01-01 10:30'", 1),
    ("date", "timestamp", "'2026-01-01' | 'infinity'", None),
    ("date", "timestamptz", "'2026-01-01'", 0),
    ("time", "time(0)", "'10:30:00.5' | '10:30'", 1),
    ("interval", "interval day", "'1 day 2 hours' | '1 day'", 1),
    ("interval", "interval(0)", "'1.5 seconds' | '1 day'", 1),
    ("interval day", "interval", "'1 day'", None),
    ("boolean", "integer", "true", 0),
    ("integer", "boolean", "0 | 1 | 2", 1),
    ("integer", "text", "1", None),
    ("integer", "varchar(5)", "123456 | 1", 1),
    ("integer", "varchar(11)", "-2147483648", None),
    ("text", "integer", "'1' | '007' | 'x' | NULL", 2),
    ("varchar(9)", "uuid", "'x' | NULL", 1),
    ("json", "jsonb", '\'{"a": 1, "a": 2}\' | \'{"a": 1}\' | NULL', 1),
    ("jsonb", "json", "'{\"a\": 1}'", None),
    ("jsonb", "varchar(5)", "'{\"a\": 1}' | '1'", 1),
    ("inet", "cidr", "'10.0.0.1/8' | '10.0.0.0/8'", 1),
    ("cidr", "inet", "'10.0.0.0/8'", None),
    ("small", "wide", "'red' | 'blue'", None),
    ("wide", "small", "'red' | 'grey' | NULL", 1),
    ("wide[]", "small[]", "'{red}' | '{red,grey}'", 1),
    ("wide", "text", "'red'", None),
    ("wide", "varchar(3)", "'red' | 'grey'", 1),
    ("wide", "varchar(4)", "'red' | 'grey'", None),
    ("text", "small", "'red' | 'grey'", 1),
    ("short", "text", "'abc'", None),
    ("text", "short", "'abc' | 'abcdefg'", 1),
    ("short", "shorter", "'abc' | 'ab'", 1),
    ("shorter", "short", "'ab'", None),
    ("citext", "text", "'Abc'", None),
    ("text", "citext", "'Abc'", None),
    ("citext", "varchar(2)", "'Abc' | 'a'", 1),
]
SETUP = """
CREATE EXTENSION citext;
CREATE TYPE small AS ENUM ('red', 'blue');
CREATE TYPE wide AS ENUM ('red', 'blue', 'grey');
CREATE DOMAIN short AS varchar(5);
CREATE DOMAIN shorter AS varchar(2);
"""
# Whether the first type is said to be kept, how many rows are said to be at risk, and the SQLSTATE
# with which PostgreSQL refuses the change, if it does.
ASK = """
import json, sys
import psycopg
from app.migrate.columns import Retyped, read_columns
from app.migrate.lossy import keeps_values, query

def changed(connection, new):
    alter = f'ALTER TABLE "order" ALTER "Value" TYPE {new}'
    for using in ("", f' USING "Value"::{new}', f' USING "Value"::text::{new}'):
        try:
            with connection.transaction():
                connection.execute(alter + using)
            return ""
        except (psycopg.errors.DatatypeMismatch, psycopg.errors.CannotCoerce):
            pass
        except psycopg.Error as error:
            return error.sqlstate
    return "no cast"

conninfo, version, setup, changes = json.loads(sys.argv[1])
found = []
with psycopg.connect(conninfo) as connection:
    connection.execute("SET timezone = UTC")
    connection.execute(setup)
    for old, new, values, _ in changes:
        with connection.transaction(force_rollback=True):
            connection.execute(f'CREATE TABLE "order" ("Value" {old}); CREATE TABLE target (x {new})')
            for value in values.split(" | "):
                connection.execute(f'INSERT INTO "order" VALUES ({value})')
            columns = {column.table: column for column in read_columns(connection).values()}
            retyped = Retyped(columns["order"], columns["order"].type, columns["target"].type)
            kept = keeps_values(retyped.old, retyped.new)
            try:
                with connection.transaction():
                    count = kept or connection.execute(query(retyped, version)).fetchone()[0]
            except psycopg.Error as error:
                count = f"{query(retyped, version)}: {error}"
            found.append([kept, count, changed(connection, new)])
print(json.dumps(found))
"""


def test_what_is_said_to_keep_values_does_and_the_query_finds_the_others(
    project: Project, subtests: pytest.Subtests
) -> None:
    with project.connect() as connection:
        address = {**connection.info.get_parameters(), "password": project.env["POSTGRES_PASSWORD"]}
        version = connection.info.server_version // 10000
    arguments = json.dumps([make_conninfo(**address), f"{version}.0", SETUP, CHANGES])
    asked = project.run("uv", "run", "python", "-c", ASK, arguments, cwd=project.backend).ok()
    for (old, new, _, expected), (kept, count, state) in zip(
        CHANGES, json.loads(asked.out), strict=True
    ):
        with subtests.test(f"{old} becomes {new}"):
            assert kept == (expected is None)
            if expected is None:
                assert state == ""
            else:
                assert count == expected
                assert not state or count > 0


SHOP = """\
from datetime import date, datetime
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, BIT
from sqlmodel import Field, SQLModel


class Shop(SQLModel, table=True):
    id: int | None = Field(default=None, primary_key=True)
"""
BEFORE = """\
    name: str = Field(index=True)
    tags: list[str] = Field(sa_type=ARRAY(sa.String(10)))
    bits: str = Field(sa_type=BIT(8))
    short: str = Field(sa_type=sa.Text)
    ratio: float
    price: Decimal = Field(max_digits=8, decimal_places=3)
    opened: datetime = Field(sa_type=sa.DateTime(timezone=True))
    rank: int
    code: str = Field(max_length=5)
    whole: Decimal = Field(max_digits=8, decimal_places=2)
    day: date
    size: int
    label: str
"""
AFTER = """\
    name: str = Field(index=True, max_length=5)
    tags: list[str] = Field(sa_type=ARRAY(sa.String(5)))
    bits: str = Field(sa_type=BIT(4))
    short: str = Field(sa_type=sa.CHAR(3))
    ratio: int
    price: Decimal = Field(max_digits=8, decimal_places=2)
    opened: date
    rank: bool
    code: str
    whole: Decimal = Field(max_digits=9, decimal_places=3)
    day: datetime = Field(sa_type=sa.DateTime)
    title: str = Field(max_length=5, sa_column_kwargs={"info": {"renamed_from": "label"}})
"""
COLUMNS = "name, tags, bits, short, ratio, price, opened, rank, code, whole, day, size, label"
FITS = "'a', '{a}', B'11110000', 'a', 1, 1.5, '2026-01-01 00:00Z', 1, 'a', 1, '2026-01-01', 1, 'a'"
# Each value but the size is lost on the way up; the code, the number and the day fit.
HURT = (
    "'abcdefghij', '{abcdefghij}', B'11110000', 'abcdef', 1.5, 1.234, '2026-01-01 10:30Z', 7,"
    " 'a', 1, '2026-01-01', 2, 'abcdefghij'"
)


def rows(project: Project) -> list[tuple[object, ...]]:
    with project.connect() as connection:
        return connection.execute("SELECT * FROM shop ORDER BY id").fetchall()


def test_no_value_is_lost_on_the_way_up_or_down(project: Project) -> None:
    register(project, SHOP + BEFORE, "Shop")
    project.migrate()
    project.just("db-upgrade").ok()
    with project.connect() as connection:
        connection.execute(f"INSERT INTO shop ({COLUMNS}) VALUES ({FITS}), ({HURT})")
    before = rows(project)
    project.write("backend/app/models/shop.py", SHOP + AFTER)

    refused = project.just("db-migrate").refused("not safe", "loses-values")
    queries = re.findall(r"SELECT count\(\*\) FROM shop WHERE .*", refused.text)
    changed = re.findall(r"loses-values: shop\.(\w+) becomes", refused.text)
    assert sorted(changed) == sorted(
        ["name", "tags", "bits", "short", "ratio", "price", "opened", "rank", "label"]
    )
    with project.connect() as connection:
        connection.execute("SET timezone = UTC")
        counts = dict(
            zip(changed, [connection.execute(q).fetchone() for q in queries], strict=True)
        )
    # A shorter string of bits does not fit at all.
    assert counts == dict.fromkeys(changed, (1,)) | {"bits": (2,)}

    accept(project, refused)
    project.just("db-upgrade").refused("value too long for type character varying(5)")
    assert rows(project) == before

    with project.connect() as connection:
        connection.execute("DELETE FROM shop; ALTER TABLE shop ALTER bits DROP NOT NULL")
        connection.execute(f"INSERT INTO shop ({COLUMNS}) VALUES ({FITS})")
        connection.execute("UPDATE shop SET bits = NULL")
        project.just("db-upgrade").ok()
        connection.execute(
            "UPDATE shop SET code = 'abcdefghij', whole = 1.234, day = '2026-01-01 10:30'"
        )
    before = rows(project)
    latest = project.just("db-history").ok().out.split("applied")[2].split()[0]

    def down(*parts: str) -> None:
        said = project.just("db-downgrade", latest).refused(*parts)
        assert "Correct the file" not in said.text
        assert rows(project) == before

    down("1 row of shop", "code becomes character varying(5) again", "char_length(code) > 5")
    with project.connect() as connection:
        connection.execute("UPDATE shop SET code = 'a'")
        before = rows(project)
        down("whole becomes numeric(8,2) again")
        connection.execute("UPDATE shop SET whole = 1")
        before = rows(project)
        down("day becomes date again")
        connection.execute("UPDATE shop SET day = '2026-01-01'")
        before = rows(project)
    said = project.just("db-downgrade", latest).ok()
    assert "shop.size stays without NOT NULL" in said.text
    project.just("db-upgrade").ok()
    project.just("db-check").ok()
