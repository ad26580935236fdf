"""SQL that is printed and not run: the same that would run, or none.

Alembic prints a parameter without a value as NULL, leaves out the values that a revision passes to
`op.get_bind().execute()`, turns tabs into spaces, also inside of strings, and has a comment at the
end of a statement swallow the semicolon.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from io import StringIO
from typing import Any, TextIO

from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.base import PGDDLCompiler
from sqlalchemy.dialects.postgresql.psycopg import PGCompiler_psycopg, PGDialect_psycopg
from sqlalchemy.exc import CompileError
from sqlalchemy.sql import Insert
from sqlalchemy.sql.elements import TextClause

NAME = "postgresql+printed"
# What Alembic must not see: put back when it has printed.
TAB, BACKSLASH, END_OF_COMMENT = "\ue000", "\ue001", "\ue002"
VALUES = "the values passed to execute() can only be shown of text(…) and of insert()"
READS = "it asks the database what there is"


class _Printed:
    """Text that Alembic prints as it is."""

    def __str__(self) -> str:
        text = super().__str__()
        ends_in_comment = "--" in text.rpartition("\n")[2]
        return text.replace("\t", TAB) + (f"\n{END_OF_COMMENT}" if ends_in_comment else "")


class _Compiler(_Printed, PGCompiler_psycopg):
    def render_literal_bindparam(self, bindparam: Any, *args: Any, **kw: Any) -> Any:
        if bindparam.required and bindparam.value is None and bindparam.callable is None:
            raise CompileError(
                f":{bindparam.key} in its SQL is taken for a parameter, which has no value. If it "
                rf"is none, write \:{bindparam.key} there, or use "
                "op.get_bind().exec_driver_sql(…), which runs it as it is."
            )
        if bindparam.value is None and bindparam.type.should_evaluate_none:
            raise CompileError(f"the value of {bindparam.key} is null in JSON, not NULL")
        return super().render_literal_bindparam(bindparam, *args, **kw)  # type: ignore[no-untyped-call]

    def render_literal_value(self, value: Any, type_: Any) -> str:
        if value == []:
            return "'{}'"
        if isinstance(value, timedelta):  # a day is not 24 hours where the clock changes
            seconds = timedelta(seconds=value.seconds, microseconds=value.microseconds)
            return f"make_interval(days => {value.days}, secs => {seconds.total_seconds()})"
        rendered = str(super().render_literal_value(value, type_))  # type: ignore[no-untyped-call]
        if isinstance(value, float | Decimal) and not math.isfinite(value):
            rendered = f"'{value}'"
        # In a value no backslash hides a colon.
        return rendered.replace("\\", BACKSLASH)


class _DDLCompiler(_Printed, PGDDLCompiler):
    pass


class PrintedDialect(PGDialect_psycopg):
    """psycopg's, for SQL that somebody else runs."""

    supports_statement_cache = True
    statement_compiler = _Compiler
    ddl_compiler = _DDLCompiler
    _backslash_escapes = False


class Output(StringIO):
    """Where Alembic prints to; what arrives there is as it would run."""

    def __init__(self, output: TextIO | None) -> None:
        super().__init__()
        self.output = output or sys.stdout

    def write(self, text: str) -> int:
        for hidden, shown in ((TAB, "\t"), (BACKSLASH, "\\"), (END_OF_COMMENT, "")):
            text = text.replace(hidden, shown)
        return self.output.write(text)

    def flush(self) -> None:
        self.output.flush()


def print_values(connection: Any) -> None:
    """Has Alembic's stand-in for a connection print the values that statements are executed with.

    Args:
        connection: What `op.get_bind()` gives where nothing runs.
    """
    execute, create = connection.execute, connection._run_ddl_visitor

    def execute_with_values(
        statement: Any, parameters: Any = None, execution_options: Any = None
    ) -> None:
        sets: Sequence[Mapping[str, Any] | None]
        sets = [parameters or None] if not isinstance(parameters, list | tuple) else parameters
        for values in sets or [None]:
            if not values:
                execute(statement)
            elif isinstance(statement, Insert):
                execute(statement.values(values))
            elif isinstance(statement, TextClause):
                execute(statement.bindparams(**values))
            else:
                raise CompileError(VALUES)

    def create_unseen(*arguments: Any, checkfirst: Any = False, **options: Any) -> None:
        # SQLAlchemy 2.1 has a look at the types of a table only, unless told otherwise.
        if checkfirst and getattr(checkfirst, "name", "") != "TYPES":
            raise CompileError(READS)
        create(*arguments, **options)

    connection.execute = execute_with_values
    connection._run_ddl_visitor = create_unseen


registry.register("postgresql.printed", __name__, PrintedDialect.__name__)
