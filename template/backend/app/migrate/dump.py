"""What pg_dump says of a database's schema, object by object."""

import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from alembic.util import CommandError

from app.core.config import Settings
from app.migrate import checkpoint, ledger
from app.migrate.databases import connection_file

# The tables that migrations keep for themselves.
OWN_TABLES = ("alembic_version", ledger.TABLE_NAME, checkpoint.TABLE_NAME)

IDENTIFIER = r'(?:"(?:[^"]|"")+"|[\w$]+)'
QUALIFIED = rf"(?:{IDENTIFIER}\.)?{IDENTIFIER}"
# What hides separators and parentheses: strings, quoted names, dollar quotes.
QUOTED = re.compile(
    r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|\$(\w*)\$.*?\$\1\$|\bBEGIN ATOMIC\b.*?^END\b""",
    re.DOTALL | re.MULTILINE,
)
# x IN ('a', 'b') on varchar: PostgreSQL prints it in the first form, and that in the second.
TEXTS = re.compile(r"\(ARRAY\[((?:'(?:[^']|'')*'::character varying(?:, )?)+)\]\)::text\[\]")
VARCHAR = re.compile(r"('(?:[^']|'')*'::character varying)")
VARCHAR_AS_TEXT = r"(\1)::text"
ATTACHED = rf"ATTACH PARTITION ({QUALIFIED}) "
HEADER = re.compile(r"^-- Name: (.*); Type: (.*); Schema: (.*); Owner: .*$")
# What the objects after it have, until the next one: as PostgreSQL's defaults have it, it says nothing.
SETTING = re.compile(r"SET default_(tablespace|table_access_method) = (.*)", re.DOTALL)
USUAL = {"''", "heap"}
NOISE = re.compile(r"SET |SELECT pg_catalog\.set_config\(|\\(un)?restrict ")


@dataclass(frozen=True, order=True)
class Name:
    """What a definition is of. The parts are written as in SQL, quoted where need be."""

    kind: str  # table, column, constraint, index, …; of others pg_dump's type in lower case
    table: str  # the table that it belongs to, or nothing
    name: str
    is_statement: bool = False  # the name is a statement's first line

    def __str__(self) -> str:
        if self.is_statement:
            return self.name.replace(" public.", " ")
        shown = f"{self.table}.{self.name}" if self.kind == "column" else self.name
        on = f" on {self.table}" if self.table and self.kind not in {"table", "column"} else ""
        return f"{self.kind} {shown}{on}".replace(" public.", " ")


Schema = dict[Name, str]


def read_schema(settings: Settings) -> Schema:
    """The definition of each object of a database.

    Raises:
        CommandError: pg_dump is missing, or failed.
    """
    return parse(run_pg_dump(settings, "--schema-only", "--no-owner", "--no-privileges"))


def run_pg_dump(settings: Settings, *options: str) -> str:
    """What pg_dump prints, without the tables that migrations keep for themselves.

    Raises:
        CommandError: pg_dump is missing, or failed.
    """
    try:
        from devdb.binaries import NO_TLS, bin_dir, environment
    except ModuleNotFoundError:
        raise CommandError(
            "Schemas are compared by pg_dump, which the production image does not have. "
            "Run this in the project."
        ) from None
    program = bin_dir("pg_dump") / "pg_dump"
    excluded = [f"--exclude-table={table}" for table in OWN_TABLES]
    with connection_file(settings) as conninfo:
        done = subprocess.run(
            [program, "--encoding=UTF8", *excluded, *options, conninfo],
            capture_output=True,
            close_fds=False,
            env=environment(),
        )
    if done.returncode != 0:
        reason = done.stderr.decode(errors="replace").strip()
        hint = f"\n{NO_TLS}" if "no encryption" in reason or "SSL support" in reason else ""
        raise CommandError(f"pg_dump failed: {reason}{hint}")
    return done.stdout.decode()  # not as text: rows may hold carriage returns


def statements(dump: str) -> Iterator[tuple[str, str]]:
    """The statements of a dump without those that only set it up; each after its object's type."""
    kind = ""
    lines: list[str] = []
    for line in [*dump.splitlines(keepends=True), "-- Name: ; Type: ; Schema: ; Owner: -\n"]:
        # In a string it is no comment, whatever it looks like.
        if not line.startswith("--") or _is_open("".join(lines)):
            lines.append(line)
        elif header := HEADER.match(line):
            for statement in split("".join(lines), ";"):
                if SETTING.fullmatch(statement) or not NOISE.match(statement):
                    yield kind, statement
            kind, lines = header[2], []


def _is_open(text: str) -> bool:
    """Whether a text ends within a string, a quoted name or a function's body."""
    return re.search(r"""['"]|\$\w*\$|\bBEGIN ATOMIC\b""", QUOTED.sub("", text)) is not None


def split(text: str, separator: str) -> list[str]:
    """The parts between separators, but not at those in parentheses, strings and quoted names."""
    parts, depth, start, position = [], 0, 0, 0
    while position < len(text):
        character = text[position]
        if quoted := QUOTED.match(text, position):
            position = quoted.end()
            continue
        depth += (character == "(") - (character == ")")
        if character == separator and depth == 0:
            parts.append(text[start:position])
            start = position + 1
        position += 1
    return [part.strip() for part in [*parts, text[start:]] if part.strip()]


def parse(dump: str) -> Schema:
    """The objects of a dump. The order of a table's columns plays no part."""
    schema: Schema = {}
    settings: dict[str, str] = {}
    for kind, statement in statements(dump):
        if setting := SETTING.fullmatch(statement):
            settings[setting[1]] = "" if setting[2] in USUAL else setting[2]
        else:
            _add(schema, kind, in_one_form(statement), settings)
    partitions = set(re.findall(ATTACHED, dump))
    return {name: text for name, text in schema.items() if name.table not in partitions}


def parts(name: str) -> tuple[str, str]:
    """The first and the last part of a name in SQL, without the quotes."""
    found = [
        part[1:-1].replace('""', '"') if part.startswith('"') else part
        for part in re.findall(IDENTIFIER, name)
    ]
    return found[0], found[-1]


def _add(schema: Schema, kind: str, statement: str, settings: Mapping[str, str]) -> None:
    space, method = settings.get("tablespace"), settings.get("table_access_method")
    in_space = f" TABLESPACE {space}" if space else ""

    def matches(pattern: str) -> re.Match[str] | None:
        pattern = pattern.replace("QUALIFIED", QUALIFIED).replace("IDENTIFIER", IDENTIFIER)
        return re.fullmatch(pattern.replace(" ", r"\s+"), statement, re.DOTALL)

    if found := matches(r"CREATE (UNLOGGED )?TABLE (QUALIFIED) (\(.*)"):
        unlogged, table, rest = found.groups()
        body, after = _parenthesized(rest)
        using = f" USING {method}" if method and "PARTITION BY" not in after else ""
        schema[Name("table", table, table)] = f"{unlogged or ''}{after}{using}{in_space}".strip()
        for item in split(body, ","):
            if constraint := re.fullmatch(rf"CONSTRAINT ({IDENTIFIER}) (.*)", item, re.DOTALL):
                schema[Name("constraint", table, constraint[1])] = constraint[2]
            else:
                column = re.match(IDENTIFIER, item)
                assert column is not None, item
                # A NOT NULL gets a name of its own when its column is renamed.
                text = re.sub(
                    rf"CONSTRAINT {IDENTIFIER} NOT NULL", "NOT NULL", item[column.end() :]
                )
                schema[Name("column", table, column[0])] = text.strip()
    elif found := matches(r"ALTER TABLE (?:ONLY )?(QUALIFIED) ADD CONSTRAINT (IDENTIFIER) (.*)"):
        has_index = found[3].startswith(("PRIMARY KEY", "UNIQUE", "EXCLUDE"))
        index_space = f" USING INDEX{in_space}" if in_space and has_index else ""
        schema[Name("constraint", found[1], found[2])] = found[3] + index_space
    elif found := matches(
        r"ALTER TABLE (?:ONLY )?(QUALIFIED) ALTER COLUMN (IDENTIFIER) SET DEFAULT (.*)"
    ):
        schema[Name("column", found[1], found[2])] += f" DEFAULT {found[3]}"
    elif found := matches(
        r"ALTER TABLE (QUALIFIED) ALTER COLUMN (IDENTIFIER) ADD (GENERATED .* AS IDENTITY) \((.*)\)"
    ):
        options = re.sub(rf"SEQUENCE NAME {QUALIFIED}\s+", "", found[4].strip())
        schema[Name("column", found[1], found[2])] += f" {found[3]} ({one_line(options)})"
    elif found := matches(r"CREATE (?:UNIQUE )?INDEX (IDENTIFIER) ON (?:ONLY )?(QUALIFIED) .*"):
        schema[Name("index", found[2], found[1])] = statement + in_space
    elif found := matches(r"CREATE (?:UNLOGGED )?SEQUENCE (QUALIFIED) (.*)"):
        schema[Name("sequence", "", found[1])] = one_line(found[2])
    elif found := matches(r"ALTER SEQUENCE (QUALIFIED) (OWNED BY .*)"):
        schema[Name("sequence", "", found[1])] += f" {found[2]}"
    elif found := matches(r"CREATE TYPE (QUALIFIED) (AS ENUM \(.*)"):
        schema[Name("enum", "", found[1])] = one_line(found[2])
    elif found := matches(r"COMMENT ON (TABLE|COLUMN|CONSTRAINT|INDEX) (.*?) IS ('.*)"):
        schema[Name("comment", "", f"{found[1]} {found[2]}")] = found[3]
    elif found := matches(r"CREATE SCHEMA (IDENTIFIER)"):
        schema[Name("schema", "", found[1])] = statement
    else:
        # The first line tells what it is of, without a function's body.
        schema[Name(kind.lower(), "", statement.splitlines()[0], is_statement=True)] = statement


def in_one_form(sql: str) -> str:
    """SQL in which lists of texts look the same, however often PostgreSQL has read and printed it."""
    return TEXTS.sub(lambda match: f"ARRAY[{VARCHAR.sub(VARCHAR_AS_TEXT, match[1])}]", sql)


def one_line(sql: str) -> str:
    """SQL without its line breaks and indentation, but for those in strings and quoted names."""
    found, position = [], 0
    for quoted in QUOTED.finditer(sql):
        found += [re.sub(r"\s+", " ", sql[position : quoted.start()]), quoted[0]]
        position = quoted.end()
    return "".join([*found, re.sub(r"\s+", " ", sql[position:])]).strip()


def _parenthesized(text: str) -> tuple[str, str]:
    """What is in the parentheses that a text begins with, and what comes after them."""
    depth, position = 0, 0
    while position < len(text):
        if quoted := QUOTED.match(text, position):
            position = quoted.end()
            continue
        depth += (text[position] == "(") - (text[position] == ")")
        position += 1
        if depth == 0:
            break
    return text[1 : position - 1], one_line(text[position:])
