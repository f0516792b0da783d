"""What ``medclip evaluate --json`` measured."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from medclip.errors import CaseError, describe
from medclip.files.plain import read_regular, unreadable
from medclip.metrics.probabilities import interval
from medclip.reporting.known import Known

__all__ = ["known_of_figures"]

_MOST = 64 << 20  # bytes
_REMEDY = "give a file with what  medclip evaluate --json  printed"


class _Row(BaseModel):
    """One figure, as `medclip.evaluation.protocols.Figure`; what further text it holds (a subgroup) tells figures apart."""

    model_config = ConfigDict(extra="allow", strict=True)

    protocol: str
    label_set: str | None
    method: str
    metric: str
    value: float | None  # None where it could not be given
    sd: float | None
    n: Annotated[int, Field(ge=0)]

    @property
    def what(self) -> str:
        """What was measured, beside the metric."""
        more = [f"{name} {one}" for name, one in (self.model_extra or {}).items() if isinstance(one, str)]
        return ", ".join([part for part in (self.protocol, self.label_set, self.method) if part] + more)

    @property
    def told(self) -> str:
        """The metric with its value and how far that is sure."""
        if self.value is None:
            return f"{self.metric} not measurable"
        sure = "" if self.sd is None else f" ± {self.sd:.3f}"
        if self.metric == "accuracy" and self.sd is None and self.n and 0 <= self.value <= 1:
            low, high = interval(self.value, self.n)
            sure = f" (95 % interval {low:.3f} to {high:.3f})"
        return f"{self.metric} {self.value:.3f}{sure}"


def known_of_figures(file: Path) -> dict[str, Known]:
    """What is known of measured figures, by name.

    Raises:
        CaseError: it is not what ``medclip evaluate --json`` prints.
    """
    try:
        rows = TypeAdapter(list[_Row]).validate_json(read_regular(file, _MOST))
    except OSError as error:
        raise CaseError(f"{file}: {unreadable(error)}; {_REMEDY}") from error
    except ValidationError as error:
        raise CaseError(
            f"{file}: is not what  medclip evaluate --json  prints ({describe(error)}); {_REMEDY}"
        ) from error
    if not rows:
        raise CaseError(f"{file}: holds no figure; {_REMEDY}")
    groups: dict[tuple[str, int], list[str]] = {}
    for row in rows:
        groups.setdefault((row.what, row.n), []).append(row.told)
    lines = tuple(f"{what} (n {n}): {', '.join(told)}" for (what, n), told in groups.items())
    return {
        "results": Known(
            "Figures of a file that does not name its model (after ±, the standard deviation over folds):",
            "FIGURES",
            lines,
        ),
        "measures": Known(f"Measured were {', '.join(dict.fromkeys(row.metric for row in rows))}.", "FIGURES"),
    }
