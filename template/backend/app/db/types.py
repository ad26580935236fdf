"""Fields that the models share."""

from typing import Any

from sqlalchemy import BigInteger, Identity, func
from sqlmodel import Field


def bigint_key() -> Any:
    """A primary key that PostgreSQL numbers: bigint, so that it never runs out."""
    return Field(default=None, primary_key=True, sa_type=BigInteger, sa_column_args=[Identity()])


def creation_time() -> Any:
    """A timestamptz that the database sets when the row is inserted."""
    return Field(default=None, nullable=False, sa_column_kwargs={"server_default": func.now()})


def update_time() -> Any:
    """A timestamptz that the database sets on insert and SQLAlchemy on each update."""
    return Field(
        default=None,
        nullable=False,
        sa_column_kwargs={"server_default": func.now(), "onupdate": func.now()},
    )
