"""Roles: the example of a resource. A route says what it needs by type and stays thin."""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Query, status
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.api.dependencies import SessionDependency
from app.api.schemas import RoleCreate, RoleRead, RoleUpdate
from app.models import Role

MAX_BIGINT = 2**63 - 1

router = APIRouter(prefix="/roles", tags=["roles"])

RoleId = Annotated[int, Path(ge=1, le=MAX_BIGINT)]


@router.get("")
async def list_roles(
    session: SessionDependency,
    after_id: Annotated[int, Query(ge=0, le=MAX_BIGINT, description="Last id seen")] = 0,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
) -> list[RoleRead]:
    """Roles in the order of their ids; the next page starts after the last id of this one."""
    roles = await session.exec(
        select(Role).where(col(Role.id) > after_id).order_by(col(Role.id)).limit(limit)
    )
    return [RoleRead.model_validate(role) for role in roles]


@router.post("", status_code=status.HTTP_201_CREATED)
async def create_role(session: SessionDependency, data: RoleCreate) -> RoleRead:
    return await _save(session, Role(**data.model_dump()))


@router.get("/{role_id}")
async def read_role(session: SessionDependency, role_id: RoleId) -> RoleRead:
    return RoleRead.model_validate(await _find(session, role_id))


@router.patch("/{role_id}")
async def update_role(session: SessionDependency, role_id: RoleId, data: RoleUpdate) -> RoleRead:
    role = await _find(session, role_id, lock=True)
    role.sqlmodel_update(data.model_dump(exclude_unset=True))
    return await _save(session, role)


@router.delete("/{role_id}", status_code=status.HTTP_204_NO_CONTENT)
async def delete_role(session: SessionDependency, role_id: RoleId) -> None:
    await session.delete(await _find(session, role_id, lock=True))
    await session.commit()


async def _find(session: AsyncSession, role_id: int, lock: bool = False) -> Role:
    # Who changes a row locks it first: others may be about to delete it.
    role = await session.get(Role, role_id, with_for_update=lock or None)
    if role is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, f"There is no role {role_id}.")
    return role


async def _save(session: AsyncSession, role: Role) -> RoleRead:
    name = role.name
    session.add(role)
    try:
        await session.flush()
    except IntegrityError as error:
        if "uq_roles_name" not in str(error.orig):
            raise
        raise HTTPException(
            status.HTTP_409_CONFLICT, f"There is a role named {name} already."
        ) from None
    await session.refresh(role)
    await session.commit()
    return RoleRead.model_validate(role)
