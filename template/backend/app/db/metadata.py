"""The metadata that every model registers its table in.

Import this before a model: the naming convention holds for tables defined after it was set.
"""

from sqlmodel import SQLModel

from app.db.naming import NAMING_CONVENTION

metadata = SQLModel.metadata
metadata.naming_convention = NAMING_CONVENTION
