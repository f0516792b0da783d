"""Numbers as a table writes them, with decimal points or commas."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from medclip.errors import CaseError

__all__ = ["NUMBER", "Numerals", "numerals_of"]

NUMBER = r"[-+]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][-+]?\d+)?"
_THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}([.,])\d{3}")  # or three decimals: nobody can tell from the number alone
_BEGIN = re.compile(rf"\s*({NUMBER})(?![.,\d])")


@dataclass(frozen=True)
class Numerals:
    """How a table writes its numbers."""

    commas: bool  # whether a comma may be a decimal one: none separates columns
    comma_shown: bool = False  # whether some number has a decimal comma beyond doubt
    point_shown: bool = False  # ... a decimal point

    def value(self, written: str) -> float:
        """The value of what `NUMBER` matches.

        Raises:
            CaseError: it has a comma where none may stand, or one that may be a decimal or a thousands one.
        """
        if "," in written and not self.commas:
            raise CaseError("has a decimal comma, though commas separate the columns; write a decimal point")
        if found := _THOUSANDS.fullmatch(written):
            sure = self.comma_shown and not self.point_shown if found[1] == "," else not self.comma_shown
            if not sure:
                what = "comma" if found[1] == "," else "point"
                raise CaseError(
                    f"has a {what} that may be for decimals or thousands; write it with another number of decimals"
                )
        return float(written.replace(",", "."))


def numerals_of(cells: Iterable[str], *, separated_by_commas: bool) -> Numerals:
    """How a table writes its numbers, by all cells that begin with one."""
    if separated_by_commas:
        return Numerals(commas=False)
    numbers = (found[1] for cell in cells if (found := _BEGIN.match(cell)))
    shown = {ch for number in numbers if not _THOUSANDS.fullmatch(number) for ch in ",." if ch in number}
    return Numerals(commas=True, comma_shown="," in shown, point_shown="." in shown)
