"""The kinds of schema change, each with a model before and after, and what the database shows.

A table has the kind's number, `t7`; what else a kind makes begins with it. `gone` and `new` are the
lines of `FINGERPRINT` that the upgrade takes away and brings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict, Unpack

HEADER = """\
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import CheckConstraint, Column, Computed, ForeignKey, Identity, Index, Sequence
from sqlalchemy import UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, ExcludeConstraint
from sqlmodel import Field, SQLModel

"""


class Details(TypedDict, total=False):
    """What only some kinds need; the fields of `Change`."""

    outcome: str
    says: str
    options: tuple[str, ...]
    extra: tuple[str, str]


@dataclass(frozen=True)
class Change:
    group: str
    title: str
    before: str | None  # the class's body; None: there is no such table
    after: str | None
    gone: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    outcome: str = "generated"
    says: str = ""  # a part of the refusal
    options: tuple[str, ...] = ()  # the answer to what is asked
    args: tuple[str, str] = ("", "")  # __table_args__, as items of a tuple
    extra: tuple[str, str] = ("", "")  # code before the class
    table: tuple[str, str] = ("", "")  # another name for the table


def body(change: Change, number: int, after: bool) -> str | None:
    """The module of one kind in one of its two states."""
    side = int(after)
    fields = change.after if after else change.before
    if fields is None:
        return None
    name = change.table[side].replace("T#", f"t{number}") or f"t{number}"
    args = change.args[side].replace("T#", f"t{number}")
    lines = [f'__tablename__ = "{name}"', f"__table_args__ = ({args}{',' if args else ''})"]
    if "primary_key" not in fields:
        lines.append('id: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})')
    lines += fields.replace("T#", f"t{number}").split("\n")
    extra = change.extra[side].replace("T#", f"t{number}")
    return f"{HEADER}{extra}\n\nclass T{number}(SQLModel, table=True):\n" + "".join(
        f"    {line}\n" for line in lines if line
    )


FINGERPRINT = """
WITH tables AS (
    SELECT c.*, nspname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
    WHERE relname ~ %(own)s AND relkind IN ('r', 'p')
)
SELECT 'table ' || CASE nspname WHEN 'public' THEN '' ELSE nspname || '.' END || relname
    || CASE relpersistence WHEN 'u' THEN ' unlogged' ELSE '' END
    || coalesce(' with ' || reloptions::text, '')
    || coalesce(' comment ' || obj_description(oid, 'pg_class'), '') FROM tables
UNION ALL
SELECT 'column ' || attname || ' ' || format_type(atttypid, atttypmod)
    || CASE WHEN attnotnull THEN ' not null' ELSE '' END
    || coalesce(CASE attgenerated WHEN '' THEN ' default ' ELSE ' generated ' END
                || pg_get_expr(adbin, adrelid), '')
    || CASE attidentity WHEN 'a' THEN ' identity always' WHEN 'd' THEN ' identity by default'
            ELSE '' END
    || coalesce((SELECT ' collate ' || collname FROM pg_collation c
                 WHERE c.oid = attcollation AND collname <> 'default'), '')
    || coalesce(' comment ' || col_description(attrelid, attnum), '')
FROM tables JOIN pg_attribute ON attrelid = tables.oid AND attnum > 0 AND NOT attisdropped
LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
UNION ALL
SELECT 'constraint ' || conname || ' ' || pg_get_constraintdef(pg_constraint.oid)
FROM pg_constraint JOIN tables ON conrelid = tables.oid WHERE contype <> 'n'
UNION ALL
SELECT replace(pg_get_indexdef(indexrelid), 'CREATE ', '')
FROM pg_index JOIN tables ON indrelid = tables.oid
WHERE NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype <> 'f')
UNION ALL
SELECT 'enum ' || typname || ' ' || string_agg(enumlabel, ',' ORDER BY enumsortorder)
FROM pg_enum JOIN pg_type t ON t.oid = enumtypid WHERE typname ~ %(own)s GROUP BY typname
UNION ALL
SELECT 'sequence ' || relname || ' ' || seqtypid::regtype || ' by ' || seqincrement
FROM pg_sequence JOIN pg_class c ON c.oid = seqrelid WHERE relname ~ %(own)s
UNION ALL
SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname ~ %(own)s
"""


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.split(";") if line.strip())


def column(
    title: str, before: str, after: str, gone: str, new: str, **other: Unpack[Details]
) -> Change:
    return Change(
        "Columns", title, f"x: {before}", f"x: {after}",
        (f"column x {gone}",), (f"column x {new}",), **other,
    )  # fmt: skip


def args(
    group: str, title: str, before: str, after: str, gone: str, new: str, **other: Unpack[Details]
) -> Change:
    return Change(
        group, title, "x: int\ny: int\ns: str", "x: int\ny: int\ns: str",
        _lines(gone), _lines(new), args=(before, after), **other,
    )  # fmt: skip


ENUM = 'class T#Color(Enum):\n    red = "red"\n    blue = "blue"\n'
SMALL = ENUM.replace('    blue = "blue"\n', "")
OTHER = (
    'class T#Other(SQLModel, table=True):\n    __tablename__ = "t#other"\n'
    "    id: int = Field(primary_key=True)\n"
).replace("t#", "T#")
SEQUENCE = 'sa.Sequence("T#_numbers"{}, metadata=SQLModel.metadata)\n'
KIND = "x: T#Color"
INDEX = 'Index("T#_i", "x"{})'
FK = 'sa.ForeignKeyConstraint(["x"], ["T#other.id"], name="T#_fk"{})'
HAS_KEY = "constraint T#_fk FOREIGN KEY (x) REFERENCES T#other(id)"

CHANGES = [
    # Types
    column(
        "text gets a length",
        "str",
        "str = Field(max_length=50)",
        "character varying not null",
        "character varying(50) not null",
    ),
    column(
        "text loses its length",
        "str = Field(max_length=50)",
        "str",
        "character varying(50) not null",
        "character varying not null",
    ),
    column(
        "a length grows",
        "str = Field(max_length=50)",
        "str = Field(max_length=60)",
        "character varying(50) not null",
        "character varying(60) not null",
    ),
    column(
        "a length shrinks",
        "str = Field(max_length=60)",
        "str = Field(max_length=50)",
        "character varying(60) not null",
        "character varying(50) not null",
    ),
    column(
        "varchar becomes text",
        "str",
        "str = Field(sa_type=sa.Text)",
        "character varying not null",
        "text not null",
    ),
    column(
        "integer becomes bigint",
        "int",
        "int = Field(sa_type=sa.BigInteger)",
        "integer not null",
        "bigint not null",
    ),
    column(
        "float becomes numeric",
        "float",
        "Decimal = Field(max_digits=8, decimal_places=2)",
        "double precision not null",
        "numeric(8,2) not null",
    ),
    column(
        "numeric's precision changes",
        "Decimal = Field(max_digits=8, decimal_places=2)",
        "Decimal = Field(max_digits=9, decimal_places=3)",
        "numeric(8,2) not null",
        "numeric(9,3) not null",
    ),
    column(
        "text becomes integer, by a cast",
        "str",
        "int",
        "character varying not null",
        "integer not null",
    ),
    column(
        "text becomes uuid, by a cast", "str", "UUID", "character varying not null", "uuid not null"
    ),
    column(
        "a timestamp gets a time zone",
        "datetime = Field(sa_type=sa.DateTime(timezone=False))",
        "datetime = Field(sa_type=sa.DateTime(timezone=True))",
        "timestamp without time zone not null",
        "timestamp with time zone not null",
    ),
    column(
        "date becomes timestamp",
        "date",
        "datetime",
        "date not null",
        "timestamp with time zone not null",
    ),
    column(
        "json becomes jsonb",
        "dict = Field(sa_type=sa.JSON)",
        "dict = Field(sa_type=JSONB)",
        "json not null",
        "jsonb not null",
    ),
    column(
        "an array's element type changes",
        "list = Field(sa_type=ARRAY(sa.Integer))",
        "list = Field(sa_type=ARRAY(sa.BigInteger))",
        "integer[] not null",
        "bigint[] not null",
    ),
    column(
        "a collation is set",
        "str",
        'str = Field(sa_type=sa.String(collation="C"))',
        "character varying not null",
        "character varying not null collate C",
    ),
    # Nullability and defaults
    column("NOT NULL is set", "int | None", "int", "integer", "integer not null"),
    column("NOT NULL is dropped", "int", "int | None", "integer not null", "integer"),
    column(
        "a default is added",
        "int",
        'int = Field(sa_column_kwargs={"server_default": "7"})',
        "integer not null",
        "integer not null default 7",
    ),
    column(
        "a default changes",
        'int = Field(sa_column_kwargs={"server_default": "7"})',
        'int = Field(sa_column_kwargs={"server_default": "8"})',
        "integer not null default 7",
        "integer not null default 8",
    ),
    column(
        "a default is dropped",
        'int = Field(sa_column_kwargs={"server_default": "7"})',
        "int",
        "integer not null default 7",
        "integer not null",
    ),
    column(
        "a default with odd characters changes",
        """str = Field(sa_column_kwargs={"server_default": "a:b %(c)s 'd'"})""",
        """str = Field(sa_column_kwargs={"server_default": "a:c %% ''"})""",
        "character varying not null default 'a:b %(c)s ''d'''::character varying",
        "character varying not null default 'a:c %% '''''::character varying",
    ),
    column(
        "an expression becomes the default",
        "datetime",
        'datetime = Field(sa_column_kwargs={"server_default": sa.func.now()})',
        "timestamp with time zone not null",
        "timestamp with time zone not null default now()",
    ),
    # Columns that come, go and compute
    Change("Columns", "a column is added", "", "x: int | None", (), ("column x integer",)),
    Change(
        "Columns",
        "a NOT NULL column with a default is added",
        "",
        'x: int = Field(sa_column_kwargs={"server_default": "1"})',
        (),
        ("column x integer not null default 1",),
    ),
    Change(
        "Columns",
        "a NOT NULL column without a default is added",
        "",
        "x: int",
        (),
        ("column x integer not null",),
        "filled in",
        "column T#.x",
    ),
    Change(
        "Columns",
        "a NOT NULL column with a default that differs for each row is added",
        "",
        'x: UUID = Field(sa_column_kwargs={"server_default": sa.func.gen_random_uuid()})',
        (),
        ("column x uuid not null default gen_random_uuid()",),
    ),
    Change("Columns", "a column is dropped", "x: int", "", ("column x integer not null",)),
    Change(
        "Columns",
        "a column is renamed",
        "x: int",
        "y: int",
        ("column x integer not null",),
        ("column y integer not null",),
        "asked",
        "--rename T#.x:y",
        ("--rename", "T#.x:y"),
    ),
    Change(
        "Columns",
        "a renamed column that the model tells of",
        "x: int",
        'y: int = Field(sa_column_kwargs={"info": {"renamed_from": "x"}})',
        ("column x integer not null",),
        ("column y integer not null",),
    ),
    Change(
        "Columns",
        "an indexed column is renamed",
        "x: int = Field(index=True)",
        "y: int = Field(index=True)",
        ("column x integer not null", "INDEX ix_T#_x ON public.T# USING btree (x)"),
        ("column y integer not null", "INDEX ix_T#_y ON public.T# USING btree (y)"),
        "asked",
        "--drop T#.x",
        ("--rename", "T#.x:y"),
    ),
    Change(
        "Columns",
        "one column is dropped and another one added",
        "x: int",
        "y: int | None",
        ("column x integer not null",),
        ("column y integer",),
        "asked",
        "--drop T#.x",
        ("--drop", "T#.x"),
    ),
    column(
        "a column's comment changes",
        'int = Field(sa_column_kwargs={"comment": "one"})',
        'int = Field(sa_column_kwargs={"comment": "two: \'x\'"})',
        "integer not null comment one",
        "integer not null comment two: 'x'",
    ),
    Change(
        "Generated columns",
        "a generated column is added",
        "x: int",
        'x: int\ny: int = Field(sa_column_args=[Computed("x * 2")])',
        (),
        ("column y integer not null generated (x * 2)",),
    ),
    Change(
        "Generated columns",
        "the expression changes",
        'x: int\ny: int = Field(index=True, sa_column_args=[Computed("x * 2", persisted=True)])',
        'x: int\ny: int = Field(index=True, sa_column_args=[Computed("x * 3", persisted=True)])',
        ("column y integer not null generated (x * 2)",),
        ("column y integer not null generated (x * 3)",),
    ),
    Change(
        "Generated columns",
        "a generated column becomes an ordinary one",
        'x: int\ny: int = Field(sa_column_args=[Computed("x * 2", persisted=True)])',
        "x: int\ny: int",
        ("column y integer not null generated (x * 2)",),
        ("column y integer not null",),
    ),
    Change(
        "Generated columns",
        "an ordinary column becomes a generated one",
        "x: int\ny: int",
        'x: int\ny: int = Field(sa_column_args=[Computed("x * 2", persisted=True)])',
        outcome="refused",
        says="column T#.y",
    ),
    Change(
        "Identity and sequences",
        "identity is added",
        "x: int",
        "x: int = Field(sa_column_args=[Identity()])",
        ("column x integer not null",),
        ("column x integer not null identity by default", "sequence T#_x_seq integer by 1"),
    ),
    Change(
        "Identity and sequences",
        "identity is dropped",
        "x: int = Field(sa_column_args=[Identity()])",
        "x: int",
        ("column x integer not null identity by default", "sequence T#_x_seq integer by 1"),
        ("column x integer not null",),
    ),
    column(
        "identity becomes ALWAYS",
        "int = Field(sa_column_args=[Identity()])",
        "int = Field(sa_column_args=[Identity(always=True)])",
        "integer not null identity by default",
        "integer not null identity always",
    ),
    Change(
        "Identity and sequences",
        "identity's options change",
        "x: int = Field(sa_column_args=[Identity()])",
        "x: int = Field(sa_column_args=[Identity(increment=5, cycle=True)])",
        ("sequence T#_x_seq integer by 1",),
        ("sequence T#_x_seq integer by 5",),
    ),
    Change(
        "Identity and sequences",
        "a serial key becomes bigint",
        "id: int | None = Field(default=None, primary_key=True)",
        "id: int | None = Field(default=None, primary_key=True, sa_type=sa.BigInteger)",
        (
            "column id integer not null default nextval('T#_id_seq'::regclass)",
            "sequence T#_id_seq integer by 1",
        ),
        (
            "column id bigint not null default nextval('T#_id_seq'::regclass)",
            "sequence T#_id_seq bigint by 1",
        ),
    ),
    Change(
        "Identity and sequences",
        "a serial key becomes identity",
        "id: int | None = Field(default=None, primary_key=True)",
        "id: int | None = Field(default=None, primary_key=True, sa_column_args=[Identity()])",
        ("column id integer not null default nextval('T#_id_seq'::regclass)",),
        ("column id integer not null identity by default",),
    ),
    Change(
        "Identity and sequences",
        "a sequence is added",
        "x: int",
        "x: int",
        (),
        ("sequence T#_numbers bigint by 1",),
        extra=("", SEQUENCE.format("")),
    ),
    Change(
        "Identity and sequences",
        "a sequence changes",
        "x: int",
        "x: int",
        ("sequence T#_numbers bigint by 1",),
        ("sequence T#_numbers integer by 3",),
        extra=(SEQUENCE.format(""), SEQUENCE.format(", increment=3, data_type=sa.Integer")),
    ),
    Change(
        "Identity and sequences",
        "a sequence is removed",
        "x: int",
        "x: int",
        outcome="refused",
        says="sequence T#_numbers",
        extra=(SEQUENCE.format(""), ""),
    ),
    # Indexes
    args(
        "Indexes",
        "an index is added",
        "",
        INDEX.format(""),
        "",
        "INDEX T#_i ON public.T# USING btree (x)",
    ),
    args(
        "Indexes",
        "an index is dropped",
        INDEX.format(""),
        "",
        "INDEX T#_i ON public.T# USING btree (x)",
        "",
    ),
    args(
        "Indexes",
        "an index's columns change",
        INDEX.format(""),
        INDEX.format(', "y"'),
        "INDEX T#_i ON public.T# USING btree (x)",
        "INDEX T#_i ON public.T# USING btree (x, y)",
    ),
    args(
        "Indexes",
        "an index becomes unique",
        INDEX.format(""),
        INDEX.format(", unique=True"),
        "INDEX T#_i ON public.T# USING btree (x)",
        "UNIQUE INDEX T#_i ON public.T# USING btree (x)",
    ),
    args(
        "Indexes",
        "an index is renamed",
        INDEX.format(""),
        INDEX.format("").replace("_i", "_j"),
        "INDEX T#_i ON public.T# USING btree (x)",
        "INDEX T#_j ON public.T# USING btree (x)",
    ),
    args(
        "Indexes",
        "WHERE is added",
        INDEX.format(""),
        INDEX.format(', postgresql_where=text("x > 1")'),
        "INDEX T#_i ON public.T# USING btree (x)",
        "INDEX T#_i ON public.T# USING btree (x) WHERE (x > 1)",
    ),
    args(
        "Indexes",
        "WHERE changes",
        INDEX.format(', postgresql_where=text("x > 1")'),
        INDEX.format(', postgresql_where=text("x > 2")'),
        "INDEX T#_i ON public.T# USING btree (x) WHERE (x > 1)",
        "INDEX T#_i ON public.T# USING btree (x) WHERE (x > 2)",
    ),
    args(
        "Indexes",
        "INCLUDE changes",
        INDEX.format(""),
        INDEX.format(', postgresql_include=["y"]'),
        "INDEX T#_i ON public.T# USING btree (x)",
        "INDEX T#_i ON public.T# USING btree (x) INCLUDE (y)",
    ),
    args(
        "Indexes",
        "USING changes",
        INDEX.format(""),
        INDEX.format(', postgresql_using="hash"'),
        "INDEX T#_i ON public.T# USING btree (x)",
        "INDEX T#_i ON public.T# USING hash (x)",
    ),
    args(
        "Indexes",
        "an operator class is set",
        'Index("T#_i", "s")',
        'Index("T#_i", "s", postgresql_ops={"s": "text_pattern_ops"})',
        "INDEX T#_i ON public.T# USING btree (s)",
        "INDEX T#_i ON public.T# USING btree (s text_pattern_ops)",
    ),
    args(
        "Indexes",
        "an expression changes",
        'Index("T#_i", text("lower(s)"))',
        'Index("T#_i", text("upper(s)"))',
        "INDEX T#_i ON public.T# USING btree (lower((s)::text))",
        "INDEX T#_i ON public.T# USING btree (upper((s)::text))",
    ),
    args(
        "Indexes",
        "DESC is set",
        INDEX.format(""),
        'Index("T#_i", text("x DESC"))',
        "INDEX T#_i ON public.T# USING btree (x)",
        "INDEX T#_i ON public.T# USING btree (x DESC)",
    ),
    args(
        "Indexes",
        "an index gets a storage parameter",
        INDEX.format(""),
        INDEX.format(', postgresql_with={"fillfactor": 70}'),
        "INDEX T#_i ON public.T# USING btree (x)",
        "INDEX T#_i ON public.T# USING btree (x) WITH (fillfactor='70')",
    ),
    # Constraints
    args(
        "Constraints",
        "UNIQUE is added",
        "",
        'UniqueConstraint("x", name="T#_u")',
        "",
        "constraint T#_u UNIQUE (x)",
    ),
    args(
        "Constraints",
        "UNIQUE without a name is dropped",
        'UniqueConstraint("x")',
        "",
        "constraint uq_T#_x UNIQUE (x)",
        "",
    ),
    args(
        "Constraints",
        "UNIQUE's columns change",
        'UniqueConstraint("x", name="T#_u")',
        'UniqueConstraint("x", "y", name="T#_u")',
        "constraint T#_u UNIQUE (x)",
        "constraint T#_u UNIQUE (x, y)",
    ),
    args(
        "Constraints",
        "NULLS NOT DISTINCT is set",
        'UniqueConstraint("x", name="T#_u")',
        'UniqueConstraint("x", name="T#_u", postgresql_nulls_not_distinct=True)',
        "constraint T#_u UNIQUE (x)",
        "constraint T#_u UNIQUE NULLS NOT DISTINCT (x)",
    ),
    args(
        "Constraints",
        "UNIQUE becomes deferrable",
        'UniqueConstraint("x", name="T#_u")',
        'UniqueConstraint("x", name="T#_u", deferrable=True)',
        "constraint T#_u UNIQUE (x)",
        "constraint T#_u UNIQUE (x) DEFERRABLE",
    ),
    args(
        "Constraints",
        "CHECK is added",
        "",
        'CheckConstraint("x > 0", name="positive")',
        "",
        "constraint ck_T#_positive CHECK ((x > 0))",
    ),
    args(
        "Constraints",
        "CHECK is dropped",
        'CheckConstraint("x > 0", name="positive")',
        "",
        "constraint ck_T#_positive CHECK ((x > 0))",
        "",
    ),
    args(
        "Constraints",
        "CHECK's condition changes",
        'CheckConstraint("x > 0", name="positive")',
        'CheckConstraint("x > 1", name="positive")',
        "constraint ck_T#_positive CHECK ((x > 0))",
        "constraint ck_T#_positive CHECK ((x > 1))",
    ),
    args(
        "Constraints",
        "CHECK with a colon in a text",
        "",
        """CheckConstraint("s <> 'a:b'", name="colon")""",
        "",
        "constraint ck_T#_colon CHECK (((s)::text <> 'a:b'::text))",
    ),
    args(
        "Constraints",
        "CHECK without a name is added",
        "",
        'CheckConstraint("x > 0")',
        "",
        "",
        outcome="refused",
        says="name",
    ),
    args(
        "Constraints",
        "EXCLUDE is added",
        "",
        'ExcludeConstraint(("x", "="), name="T#_x", using="btree")',
        "",
        "constraint T#_x EXCLUDE USING btree (x WITH =)",
    ),
    args(
        "Constraints",
        "EXCLUDE is dropped",
        'ExcludeConstraint(("x", "="), name="T#_x", using="btree")',
        "",
        "constraint T#_x EXCLUDE USING btree (x WITH =)",
        "",
    ),
    args(
        "Constraints",
        "EXCLUDE changes",
        'ExcludeConstraint(("x", "="), name="T#_x", using="btree")',
        'ExcludeConstraint(("y", "="), name="T#_x", using="btree")',
        "constraint T#_x EXCLUDE USING btree (x WITH =)",
        "constraint T#_x EXCLUDE USING btree (y WITH =)",
    ),
    Change(
        "Constraints",
        "the primary key gets another column",
        "id: int = Field(primary_key=True)\nx: int",
        "id: int = Field(primary_key=True)\nx: int = Field(primary_key=True)",
        (
            "constraint pk_T# PRIMARY KEY (id)",
            "column id integer not null default nextval('T#_id_seq'::regclass)",
            "sequence T#_id_seq integer by 1",
        ),
        ("constraint pk_T# PRIMARY KEY (id, x)", "column id integer not null"),
    ),
    Change(
        "Constraints",
        "the primary key moves to another column",
        "id: int = Field(primary_key=True)\nx: int",
        "id: int\nx: int = Field(primary_key=True)",
        (
            "constraint pk_T# PRIMARY KEY (id)",
            "column id integer not null default nextval('T#_id_seq'::regclass)",
            "sequence T#_id_seq integer by 1",
            "column x integer not null",
        ),
        (
            "constraint pk_T# PRIMARY KEY (x)",
            "column id integer not null",
            "column x integer not null default nextval('T#_x_seq'::regclass)",
            "sequence T#_x_seq integer by 1",
        ),
    ),
    *(
        Change(
            "Foreign keys",
            title,
            "x: int",
            "x: int",
            _lines(gone),
            _lines(new),
            args=(before, after),
            extra=(OTHER, OTHER),
        )
        for title, before, after, gone, new in [
            ("a key is added", "", FK.format(""), "", HAS_KEY),
            ("a key is dropped", FK.format(""), "", HAS_KEY, ""),
            (
                "ON DELETE changes",
                FK.format(""),
                FK.format(', ondelete="CASCADE"'),
                HAS_KEY,
                f"{HAS_KEY} ON DELETE CASCADE",
            ),
            (
                "ON UPDATE changes",
                FK.format(""),
                FK.format(', onupdate="SET NULL"'),
                HAS_KEY,
                f"{HAS_KEY} ON UPDATE SET NULL",
            ),
            (
                "a key becomes deferrable",
                FK.format(""),
                FK.format(', deferrable=True, initially="DEFERRED"'),
                HAS_KEY,
                f"{HAS_KEY} DEFERRABLE INITIALLY DEFERRED",
            ),
            (
                "MATCH FULL is set",
                FK.format(""),
                FK.format(', match="FULL"'),
                HAS_KEY,
                f"{HAS_KEY} MATCH FULL",
            ),
        ]
    ),
    # Enums
    Change(
        "Enums",
        "an enum column is added",
        "y: int",
        f"y: int\n{KIND} | None",
        (),
        ("column x T#color", "enum T#color red,blue"),
        extra=("", ENUM),
    ),
    Change(
        "Enums",
        "an enum column is dropped",
        f"y: int\n{KIND}",
        "y: int",
        ("column x T#color not null", "enum T#color red,blue"),
        extra=(ENUM, ""),
    ),
    Change(
        "Enums",
        "a value is added",
        KIND,
        KIND,
        ("enum T#color red",),
        ("enum T#color red,blue",),
        extra=(SMALL, ENUM),
    ),
    Change(
        "Enums",
        "a value is removed",
        KIND,
        KIND,
        ("enum T#color red,blue",),
        ("enum T#color red",),
        extra=(ENUM, SMALL),
    ),
    Change(
        "Enums",
        "text becomes an enum",
        "x: str",
        KIND,
        ("column x character varying not null",),
        ("column x T#color not null", "enum T#color red,blue"),
        extra=("", ENUM),
    ),
    Change(
        "Enums",
        "an enum becomes text",
        KIND,
        "x: str",
        ("column x T#color not null", "enum T#color red,blue"),
        ("column x character varying not null",),
        extra=(ENUM, ""),
    ),
    Change(
        "Enums",
        "an enum with a default gets a value",
        'x: T#Color = Field(sa_column_kwargs={"server_default": "red"})',
        'x: T#Color = Field(sa_column_kwargs={"server_default": "red"})',
        ("enum T#color red",),
        ("enum T#color red,blue",),
        extra=(SMALL, ENUM),
    ),
    Change(
        "Enums",
        "the values of an enum kept as text with a CHECK change",
        'x: T#Color = Field(sa_type=sa.Enum(T#Color, native_enum=False, create_constraint=True, name="color", length=9))',
        'x: T#Color = Field(sa_type=sa.Enum(T#Color, native_enum=False, create_constraint=True, name="color", length=9))',
        ("constraint ck_T#_color CHECK (((x)::text = 'red'::text))",),
        (
            "constraint ck_T#_color CHECK (((x)::text = ANY (ARRAY[('red'::character varying)::text, ('blue'::character varying)::text])))",
        ),
        extra=(SMALL, ENUM),
    ),
    # Tables
    Change(
        "Tables",
        "a table is added",
        None,
        "x: int",
        (),
        (
            "table T#",
            "column id integer not null",
            "column x integer not null",
            "constraint pk_T# PRIMARY KEY (id)",
        ),
    ),
    Change(
        "Tables",
        "a table is dropped",
        "x: int",
        None,
        (
            "table T#",
            "column id integer not null",
            "column x integer not null",
            "constraint pk_T# PRIMARY KEY (id)",
        ),
        options=("--drop", "T#"),
    ),
    Change(
        "Tables",
        "a table is renamed",
        "x: int = Field(index=True, unique=True)",
        "x: int = Field(index=True, unique=True)",
        (
            "table T#",
            "constraint pk_T# PRIMARY KEY (id)",
            "UNIQUE INDEX ix_T#_x ON public.T# USING btree (x)",
        ),
        (
            "table T#new",
            "constraint pk_T#new PRIMARY KEY (id)",
            "UNIQUE INDEX ix_T#new_x ON public.T#new USING btree (x)",
        ),
        "asked",
        "--rename T#:T#new",
        ("--rename", "T#:T#new"),
        table=("", "T#new"),
    ),
    Change(
        "Tables",
        "a renamed table that the model tells of",
        "x: int",
        "x: int",
        ("table T#", "constraint pk_T# PRIMARY KEY (id)"),
        ("table T#new", "constraint pk_T#new PRIMARY KEY (id)"),
        table=("", "T#new"),
        args=("", '{"info": {"renamed_from": "T#"}}'),
    ),
    Change(
        "Tables",
        "a table with a serial key is renamed",
        "id: int | None = Field(default=None, primary_key=True)",
        "id: int | None = Field(default=None, primary_key=True)",
        (
            "table T#",
            "constraint pk_T# PRIMARY KEY (id)",
            "column id integer not null default nextval('T#_id_seq'::regclass)",
            "sequence T#_id_seq integer by 1",
        ),
        (
            "table T#new",
            "constraint pk_T#new PRIMARY KEY (id)",
            "column id integer not null default nextval('T#new_id_seq'::regclass)",
            "sequence T#new_id_seq integer by 1",
        ),
        "asked",
        "--rename T#:T#new",
        ("--rename", "T#:T#new"),
        table=("", "T#new"),
    ),
    Change(
        "Tables",
        "a table's comment changes",
        "x: int",
        "x: int",
        ("table T# comment one",),
        ("table T# comment two",),
        args=('{"comment": "one"}', '{"comment": "two"}'),
    ),
    Change(
        "Tables",
        "a table becomes UNLOGGED",
        "x: int",
        "x: int",
        ("table T#",),
        ("table T# unlogged",),
        args=("", '{"prefixes": ["UNLOGGED"]}'),
    ),
    Change(
        "Tables",
        "a table becomes LOGGED",
        "x: int",
        "x: int",
        ("table T# unlogged",),
        ("table T#",),
        args=('{"prefixes": ["UNLOGGED"]}', ""),
    ),
    Change(
        "Tables",
        "a table gets a storage parameter",
        "x: int",
        "x: int",
        args=("", '{"postgresql_with": {"fillfactor": 70}}'),
        outcome="refused",
        says="table T#",
    ),
    Change(
        "Tables",
        "a table becomes partitioned",
        "x: int",
        "x: int",
        args=("", '{"postgresql_partition_by": "RANGE (id)"}'),
        outcome="refused",
        says="table T#",
    ),
    Change(
        "Schemas",
        "a table in a new schema is added",
        None,
        "x: int",
        (),
        (
            "table T#s.T#",
            "schema T#s",
            "column id integer not null",
            "column x integer not null",
            "constraint pk_T# PRIMARY KEY (id)",
        ),
        args=("", '{"schema": "T#s"}'),
    ),
    Change(
        "Schemas",
        "a table moves to another schema",
        "x: int",
        "x: int",
        args=("", '{"schema": "T#s"}'),
        outcome="refused",
        says="SET SCHEMA",
    ),
]
