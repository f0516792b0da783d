"""Templates → HTML; the answer's page, which ``--html`` writes and the server sends, has one template."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from medclip import DISCLAIMER
from medclip.assistant.answer import Answer, SimilarCase
from medclip.assistant.wording import (
    MOST_MEMBERS,
    caveats,
    confirmed_and_treated,
    decided,
    families,
    family_caveats,
    present,
    promise,
    refined,
    ruled_out,
    share,
    shown_labels,
    unlike,
    votes,
)
from medclip.label_sets import family_of

__all__ = ["STATIC", "Picture", "answer_page", "page", "pictures_of", "style"]

STATIC = Path(__file__).parent / "static"


@dataclass(frozen=True)
class Picture:
    """A thumbnail of a similar case."""

    source: str  # a URL
    matched: bool  # whether it is the scan that was found


def pictures_of(
    case: SimilarCase, thumbnails: Callable[[str], Mapping[int, bytes]], source: Callable[[int, bytes], str]
) -> list[Picture]:
    """All thumbnails of a similar case, the matched one first.

    Args:
        thumbnails: of a case: number of the scan → JPEG.
        source: the URL of one, by its number and JPEG.
    """
    found = thumbnails(case.case_id)
    order = sorted(found, key=lambda n: (n + 1 != case.scan, n))
    return [Picture(source(n, found[n]), n + 1 == case.scan) for n in order]


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("medclip.server"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def style() -> str:
    """The style sheet."""
    return (STATIC / "style.css").read_text(encoding="utf-8")


def page(template: str, **context: Any) -> str:
    """A page of that template, such as ``cases``; its texts are escaped."""
    given = {"disclaimer": DISCLAIMER, "inline_style": None, **context}
    return _environment().get_template(f"{template}.html.jinja").render(given)


def answer_page(
    answer: Answer,
    *,
    title: str,
    texts: Sequence[str],
    asked: Sequence[str],
    pictures: Callable[[SimilarCase], Sequence[Picture]],
    live: Any = None,
    inline_style: Any = None,
) -> str:
    """The query beside the similar cases, what they turned out to be, and which of them speak for what.

    Args:
        texts: of the query.
        asked: URLs of the query's scans.
        pictures: a similar case's thumbnails, the matched one first.
        live: what can be asked again from the page (`medclip.server.again.Again`); nothing where it stands alone.
        inline_style: a style sheet to be part of the page, as `Markup`; a link to the server's where None.
    """
    strange = unlike(answer)
    labels = [] if strange is not None else answer.labels
    several = {} if strange is not None else families(answer)
    own = [answer.of] if answer.of is not None else []
    return page(
        "answer",
        title=title,
        answer=answer,
        unlike=strange,
        refined=refined(answer),
        singles=[(found, caveats(found)) for found in labels if family_of(found.label_set) is None],
        families=[(name, found, family_caveats(found)) for name, found in several.items()],
        present=present,
        promise=promise,
        ruled_out=ruled_out,
        cautions=[_plainly(one) for one in answer.cautions],
        decided=decided,
        most=MOST_MEMBERS,
        votes=votes,
        share=share,
        matched=_matched,
        treated=confirmed_and_treated(answer),
        shown={case.case_id: shown_labels(case.labels) for case in [*answer.similar, *own]},
        asked=asked,
        text="\n\n".join(texts),
        pictures={case.case_id: pictures(case) for case in answer.similar},
        synthetic=sum(case.synthetic for case in answer.similar),
        live=live,
        inline_style=inline_style,
    )


_PLAIN = {
    "leave its patient out (--exclude-patient; on its page, under Ask again)": "leave its patient out, under Ask again",
    "that match --where": "that match the filter",
    "matches --where and is": "matches the filter and is",
    "Label sets that --where names": "Label sets that the filter names",
}


def _plainly(caution: str) -> str:
    """A caution without the words of the command line."""
    for written, plain in _PLAIN.items():
        caution = caution.replace(written, plain)
    return caution


def _matched(case: SimilarCase) -> str:
    """Of which of a case's views the similarity is, in plain words."""
    if case.scan is not None:
        return f"its scan {case.scan}"
    return "the whole case" if case.view == "fused" else f"its {case.view}"
