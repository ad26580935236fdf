from sqlalchemy import BigInteger
from sqlmodel import Field, SQLModel


class UserRole(SQLModel, table=True):
    """Which user has which role. Goes with the user and with the role."""

    __tablename__ = "user_roles"

    user_id: int = Field(
        primary_key=True, foreign_key="users.id", ondelete="CASCADE", sa_type=BigInteger
    )
    role_id: int = Field(
        primary_key=True, foreign_key="roles.id", ondelete="CASCADE", sa_type=BigInteger, index=True
    )
