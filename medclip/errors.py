"""The exceptions a user can meet.

Each carries one line that names the file and the remedy; the command line prints it and exits with 2.
Anything else that is raised is a bug and may show its traceback.

::

    MedclipError
    ├── CaseError               a case, a cases folder or a published source is not as documented
    ├── ScanError               an image file cannot be read as a scan
    ├── TextError               a text cannot be embedded (empty, or in a script the text tower cannot read)
    ├── SpeechError             a recording or speech model cannot be used, or nobody speaks in the recording
    ├── MeasurementError        a measurement is unknown, implausible or in a unit that does not fit
    ├── BundleError             a model folder is damaged, incomplete or of another format
    ├── ArchiveError            an index is damaged, out of reach, or does not fit the model, the query or the change
    │   └── NotThereError       a case or label set that was named is not in the index
    ├── FilterError             a filter cannot be understood
    ├── RefinementError         what is refined about a query does not fit it
    ├── RecordError             a record of an answer is damaged, or of another model than the index'
    ├── OutputError             an output cannot be written (it exists, the disk is full, no permission)
    ├── OptionError             an option of the command line cannot be understood
    └── MissingDependencyError  an optional dependency is not installed; the message names the extra
"""

from typing import TYPE_CHECKING

__all__ = [
    "ArchiveError",
    "BundleError",
    "CaseError",
    "FilterError",
    "MeasurementError",
    "MedclipError",
    "MissingDependencyError",
    "NotThereError",
    "OptionError",
    "OutputError",
    "RecordError",
    "RefinementError",
    "ScanError",
    "SpeechError",
    "TextError",
    "describe",
]

if TYPE_CHECKING:
    from pydantic import ValidationError


class MedclipError(Exception):
    """Base of every error that is a user's to mend."""


class CaseError(MedclipError):
    """A case, a cases folder or a published source is not as documented."""


class ScanError(MedclipError):
    """An image file cannot be read as a scan."""


class TextError(MedclipError):
    """A text cannot be embedded."""


class SpeechError(MedclipError):
    """A recording or speech model cannot be used, or nobody speaks in the recording."""


class MeasurementError(MedclipError):
    """A measurement is unknown, implausible or in a unit that does not fit."""

    def __init__(self, line: str, unquoted: str | None = None) -> None:
        """One line for whoever typed the measurement.

        Args:
            line: all of it.
            unquoted: the end of a sentence that says the same and quotes nothing, for a table of patients.
        """
        super().__init__(line)
        self.unquoted = unquoted or "is no measurement that can be used"


class BundleError(MedclipError):
    """A model folder is damaged, incomplete or of another format."""


class ArchiveError(MedclipError):
    """An index is damaged, out of reach, or does not fit the model, the query or the change."""


class NotThereError(ArchiveError):
    """A case or label set that was named is not in the index."""


class FilterError(MedclipError):
    """A filter cannot be understood."""


class RefinementError(MedclipError):
    """What is refined about a query does not fit it."""


class RecordError(MedclipError):
    """A record of an answer is damaged, or of another model than the index'."""


class OptionError(MedclipError):
    """An option of the command line cannot be understood."""


class OutputError(MedclipError):
    """An output cannot be written."""


class MissingDependencyError(MedclipError):
    """An optional dependency is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what}: install it with  pip install 'medclip-assistant[{extra}]'")


def describe(error: "ValidationError") -> str:
    """One line that says where a record is wrong, without quoting its values (they may identify a patient)."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message
