"""Among which cases an index' answers were fitted: ``fitted.json`` beside the probes, so that answers say when those changed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medclip.archive.layout import PROBE
from medclip.errors import ArchiveError
from medclip.files.plain import unreadable, write_json
from medclip.files.sealed import read_sealed, sealed
from medclip.index import CaseIndex

__all__ = ["FITTED_AMONG", "Fitted", "read_fitted", "restamp", "write_fitted"]

FITTED_AMONG = "fitted.json"
_REMEDY = "restore it from a backup, or make it anew with  medclip index compact"


@dataclass(frozen=True)
class Fitted:
    """The cases among which answers were fitted."""

    cases: int
    mark: str  # `CaseIndex.mark` of them

    def are_those_of(self, index: CaseIndex) -> bool:
        """Whether none was added, changed or removed since."""
        return self.mark == index.mark()


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    format: Literal[1]
    cases: Annotated[int, Field(ge=0)]
    mark: Annotated[str, Field(max_length=64)]


def write_fitted(index: CaseIndex, folder: Path) -> None:
    """Write into an existing folder that answers were fitted among the cases that the index holds now."""
    stored = _File(format=1, cases=len(index), mark=index.mark())
    write_json(folder / FITTED_AMONG, sealed(stored.model_dump(mode="json")))


def read_fitted(index: CaseIndex) -> Fitted | None:
    """What `write_fitted` wrote; None where an earlier medclip fitted the answers.

    Raises:
        ArchiveError: the file is damaged.
    """
    file = index.attachment(PROBE) / FITTED_AMONG
    try:
        found = read_sealed(file)
        if found.seal != "whole":
            raise ValueError("has changed since it was written")
        stored = _File.model_validate(found.value)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ArchiveError(f"{file}: {unreadable(error)}; {_REMEDY}") from error
    except ValidationError as error:
        raise ArchiveError(f"{file}: is damaged; {_REMEDY}") from error
    except ValueError as error:
        raise ArchiveError(f"{file}: is damaged ({error}); {_REMEDY}") from error
    return Fitted(stored.cases, stored.mark)


def restamp(copy: CaseIndex, source: CaseIndex) -> None:
    """Say the same of a copy as of its source, whose answers it has: an index' mark need not be that of its copy.

    Where they were not fitted among the source's cases, or the copy has others, the copy's stay as they are: not its own.
    """
    fitted = read_fitted(source)
    with source.snapshot():
        same = fitted is not None and fitted.are_those_of(source) and source.state().digest == copy.state().digest
    if same:
        (copy.attachment(PROBE) / FITTED_AMONG).unlink()
        write_fitted(copy, copy.attachment(PROBE))
