"""Lets SQLAlchemy work out what models refer to, as it would at the first query."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ForeignKey, Table, event
from sqlalchemy.exc import NoReferenceError
from sqlalchemy.orm import Mapper

from app.migrate.mapped import mapper_of, shown
from app.migrate.report import Finding


def relationship_mistakes(classes: Iterable[type[Any]]) -> list[Finding]:
    """Foreign keys to what there is not; if all are right, the first mistake in a relationship."""
    mapped = {cls: mapper for cls in classes if (mapper := mapper_of(cls))}
    findings = [
        Finding(f"{shown(cls)}: {reason}", "Correct the foreign key.")
        for cls, mapper in mapped.items()
        if isinstance(mapper.local_table, Table)
        for key in mapper.local_table.foreign_keys
        if (reason := _missing_target(key))
    ]
    return findings or _first_relationship_mistake(mapped.values())


def _missing_target(key: ForeignKey) -> str:
    try:
        _ = key.column
    except NoReferenceError as error:
        return str(error)
    return ""


def _first_relationship_mistake(mappers: Iterable[Mapper[Any]]) -> list[Finding]:
    running: list[type[Any]] = []

    def begins(mapper: Mapper[Any], cls: type[Any]) -> None:
        running.append(cls)

    event.listen(Mapper, "before_mapper_configured", begins)
    try:
        for mapper in mappers:
            mapper.registry.configure(cascade=True)
    except Exception as error:  # what a relationship says is evaluated: anything may come up
        reason = str(error).replace("\n", " ")
        where = f"{shown(running[-1])}: " if running else ""
        return [Finding(f"{where}{reason}", "Correct it: no query of any model works before.")]
    finally:
        event.remove(Mapper, "before_mapper_configured", begins)
    return []
