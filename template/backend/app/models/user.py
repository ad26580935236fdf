from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import true
from sqlmodel import Field, Relationship, SQLModel

from app.db.types import bigint_key, creation_time, update_time

from .user_role import UserRole

if TYPE_CHECKING:
    from .role import Role


class User(SQLModel, table=True):
    __tablename__ = "users"

    id: int | None = bigint_key()
    email: str = Field(max_length=254, unique=True)
    first_name: str = Field(max_length=100)
    last_name: str = Field(max_length=100)
    is_active: bool = Field(default=True, sa_column_kwargs={"server_default": true()})
    created_at: datetime = creation_time()
    updated_at: datetime = update_time()

    roles: list["Role"] = Relationship(back_populates="users", link_model=UserRole)
