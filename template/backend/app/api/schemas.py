"""What goes over the wire: requests are validated here, responses show these fields only."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

# PostgreSQL can't store the NUL character.
RoleName = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=r"^[^\x00]*$"),
]
RoleDescription = Annotated[str, StringConstraints(max_length=500, pattern=r"^[^\x00]*$")]


class RoleCreate(BaseModel):
    name: RoleName
    description: RoleDescription | None = None


class RoleUpdate(BaseModel):
    """Only the fields that are sent change."""

    name: RoleName = Field(default_factory=str)
    description: RoleDescription | None = None


class RoleRead(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: int
    name: str
    description: str | None
    created_at: datetime
    updated_at: datetime
