"""Columns that many tables have."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from sqlalchemy import JSON, String
from sqlalchemy.orm import mapped_column

from app.kit.clock import now
from app.kit.database import UtcDateTime
from app.kit.ids import new_id

Id = Annotated[str, mapped_column(String(36), primary_key=True, default=new_id)]
Created = Annotated[datetime, mapped_column(UtcDateTime, default=now)]
Updated = Annotated[datetime, mapped_column(UtcDateTime, default=now, onupdate=now)]
Moment = Annotated[datetime, mapped_column(UtcDateTime)]
Document = Annotated[dict[str, Any], mapped_column(JSON)]
Documents = Annotated[list[Any], mapped_column(JSON)]
