"""The answer as one self-contained page."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined

from medclip.cli.render import MOST_MEMBERS
from medclip.cli.wording import (
    caveats,
    confirmed_and_treated,
    decided,
    families,
    family_caveats,
    present,
    promise,
    refined,
    share,
    shown_labels,
    unlike,
    votes,
)
from medclip.files.outputs import new_file
from medclip.label_sets import family_of
from medclip.modalities.scan.read import thumbnail

if TYPE_CHECKING:
    from medclip.assistant.answer import SimilarCase
    from medclip.assistant.assistant import Asked, Assistant

__all__ = ["MARK", "write_page"]

MARK = b'name="generator" content="medclip"'
"""In the head of every page: what says that it is ours to replace."""

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
    found = assistant.index.thumbnails(case.case_id)
    return [_Picture(_uri(found[n]), n + 1 == case.scan) for n in order if n in found]


def _asked_pictures(assistant: "Assistant", asked: "Asked", case_id: str | None) -> Sequence[str]:
    if case_id is None:
        return [_uri(thumbnail(scan.middle, _QUERY_SIDE)) for scan in asked.scans]
    return [_uri(jpeg) for _, jpeg in sorted(assistant.index.thumbnails(case_id).items())]


def write_page(
    file: Path,
    assistant: "Assistant",
    asked: "Asked",
    *,
    title: str,
    texts: Sequence[str],
    case_id: str | None,
    force: bool = False,
) -> None:
    """Write the page: the query beside the similar cases, what they turned out to be, and whose vote counted how much.

    Raises:
        OutputError: the file exists (without `force`) or cannot be written.
    """
    environment = Environment(
        loader=PackageLoader("medclip.cli", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    strange = unlike(asked.answer)
    labels = [] if strange is not None else asked.answer.labels
    several = {} if strange is not None else families(asked.answer)
    own = [asked.answer.of] if asked.answer.of is not None else []
    page = environment.get_template("page.html.jinja").render(
        title=title,
        answer=asked.answer,
        unlike=strange,
        refined=refined(asked.answer),
        singles=[(found, caveats(found)) for found in labels if family_of(found.label_set) is None],
        families=[(name, found, family_caveats(found)) for name, found in several.items()],
        present=present,
        promise=promise,
        decided=decided,
        most=MOST_MEMBERS,
        votes=votes,
        share=share,
        treated=confirmed_and_treated(asked.answer),
        shown={case.case_id: shown_labels(case.labels) for case in [*asked.answer.similar, *own]},
        asked=_asked_pictures(assistant, asked, case_id),
        text="\n\n".join(texts),
        pictures={case.case_id: _pictures(assistant, case) for case in asked.answer.similar},
        synthetic=any(case.synthetic for case in asked.answer.similar),
    )
    with new_file(file, marker=MARK, force=force) as partial:
        partial.write_text(page, encoding="utf-8")
