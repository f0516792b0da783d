"""What a measurement is: a vital sign, a laboratory value; age and sex count as such, too."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

__all__ = ["AGE", "SEX", "SEX_VALUE", "Measurement"]

AGE, SEX = "age", "sex"
SEX_VALUE = {"female": -1.0, "male": 1.0, "other": 0.0}
"""Sex as a number."""


class Measurement(BaseModel):
    """One vital sign or laboratory value."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]
    value: Annotated[float, Field(allow_inf_nan=False)]
    unit: str  # UCUM, for example "Cel", "%", "10*9/L"
