"""What all sections of a manifest are."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0)]


class Section(BaseModel, frozen=True):
    """Base of all sections: unknown keys refused, no coercion (`"42"` is no seed), immutable."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
