from datetime import datetime
from typing import TYPE_CHECKING

from sqlmodel import Field, Relationship, SQLModel

from app.db.types import bigint_key, creation_time, update_time

from .user_role import UserRole

if TYPE_CHECKING:
    from .user import User


class Role(SQLModel, table=True):
    __tablename__ = "roles"

    id: int | None = bigint_key()
    name: str = Field(max_length=100, unique=True)
    description: str | None = Field(default=None, max_length=500)
    created_at: datetime = creation_time()
    updated_at: datetime = update_time()

    users: list["User"] = Relationship(back_populates="roles", link_model=UserRole)
