"""The answer as one self-contained page."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined

from medclip.cli.render import caveats
from medclip.folders import new_file
from medclip.modalities.scan.read import thumbnail

if TYPE_CHECKING:
    from medclip.assistant import Asked, Assistant
    from medclip.diagnosis.answer import SimilarCase

__all__ = ["write_page"]

_QUERY_SIDE = 360  # pixels


@dataclass(frozen=True)
class _Picture:
    source: str  # a data: URI
    matched: bool


def _uri(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")


def _pictures(assistant: "Assistant", case: "SimilarCase") -> list[_Picture]:
    """All thumbnails of a case, the matched one first."""
    order = sorted(range(case.scans), key=lambda n: (n + 1 != case.scan, n))
    found = [(n, assistant.index.thumbnail(case.case_id, n)) for n in order]
    return [_Picture(_uri(jpeg), n + 1 == case.scan) for n, jpeg in found if jpeg is not None]


def _asked_pictures(assistant: "Assistant", asked: "Asked", case_id: str | None) -> Sequence[str]:
    if case_id is None:
        return [_uri(thumbnail(scan.middle, _QUERY_SIDE)) for scan in asked.scans]
    count = len(assistant.index.record(case_id).document.get("scans", []))
    found = [assistant.index.thumbnail(case_id, n) for n in range(count)]
    return [_uri(jpeg) for jpeg in found if jpeg is not None]


def write_page(
    file: Path, assistant: "Assistant", asked: "Asked", *, title: str, text: str, case_id: str | None
) -> None:
    """Write the page: the query beside the similar cases, what they turned out to be, and whose vote counted how much.

    Raises:
        OutputError: the file cannot be written.
    """
    environment = Environment(
        loader=PackageLoader("medclip.cli", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html.jinja").render(
        title=title,
        answer=asked.answer,
        caveats={found.label_set: caveats(found) for found in asked.answer.labels},
        asked=_asked_pictures(assistant, asked, case_id),
        text=text,
        pictures={case.case_id: _pictures(assistant, case) for case in asked.answer.similar},
        synthetic=any(case.synthetic for case in asked.answer.similar),
    )
    with new_file(file) as partial:
        partial.write_text(page, encoding="utf-8")
