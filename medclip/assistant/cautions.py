"""What a reader of an answer should know first."""

from collections.abc import Mapping, Sequence

from medclip.archive.fitted import read_fitted
from medclip.assistant.searches import Search, Searches
from medclip.diagnosis.neighbours import VOTERS
from medclip.embedding.embedder import Embedder
from medclip.fusion import Fuser, Parts
from medclip.fusion.composition import Composition
from medclip.index import CaseIndex
from medclip.index.filters import Filter
from medclip.modalities.text.language import languages_read, unread_language

__all__ = [
    "OUTDATED",
    "TUNED",
    "archived_already",
    "few_cases",
    "foreign",
    "left_out",
    "no_answer",
    "not_fitted_among",
    "of_the_index",
    "searches_of_its_own",
]

OUTDATED = (
    "This index was made by an earlier medclip, which fitted and measured its answers in another way: none is given until  "
    "medclip index compact  fits them anew."
)

TUNED = (
    "The encoders of this index' model were tuned on cases: as far as those are archived here, they are told better than a new "
    "patient is, and the accuracy that is stated is too high."
)

_SINCE = "what is stated of its answers, and their sets, may not hold:  medclip index compact  fits them anew."


_CHANGED, _UNKNOWN = (
    "This index' cases changed since its answers were fitted",
    "It is not known whether this index' cases changed since its answers were fitted",
)


def of_the_index(caution: str) -> bool:
    """Whether a caution is of the state of the index, and not of the answer."""
    return caution.startswith((_CHANGED, _UNKNOWN))


def not_fitted_among(index: CaseIndex) -> str | None:
    """That the answers were fitted among other cases than the index holds now; None where they were not.

    Raises:
        ArchiveError: what says so is damaged.
    """
    fitted = read_fitted(index)
    if fitted is None:
        return f"{_UNKNOWN}; {_SINCE}"
    if fitted.are_those_of(index):
        return None
    return f"{_CHANGED} ({fitted.cases} cases then, {len(index)} now); {_SINCE}"


_SAME = 0.9999
"""Cosine from which two vectors are of one scan or text: rounding leaves more, another slice of a series less."""


def foreign(embedder: Embedder, texts: Sequence[str]) -> list[str]:
    """A plain sentence on texts in a language that the model does not read.

    Args:
        texts: the query's, transcripts too.
    """
    read = languages_read(embedder.model.manifest.reading.scripts)
    named = [unread_language(text, read) for text in texts] if read is not None else []
    names = dict.fromkeys(name for name in named if name is not None)
    if not names:
        return []
    reads = "English alone" if len(read or ()) == 1 else f"{len(read or ())} languages, this not among them"
    return [
        f"The text seems to be {' and '.join(names)}, but this index' model reads {reads}: it was hardly understood, "
        "so do not rely on what was found by it. Translate it."
    ]


def searches_of_its_own(
    fuser: Fuser, parts: Parts, where: Filter | None, exclude_patient: str | None
) -> dict[str, Search]:
    """Each scan and text of a query by name, and the search for one that is archived, for `archived_already`."""
    asked = [("scan", f"scan {n + 1}", parts.scan(n)) for n in range(len(parts.scans))]
    asked += [(kind, f"the {kind}", parts.only([kind])) for kind in ("history", "report") if kind in parts.there]
    if not asked:
        return {}
    vectors = fuser.fuse([alone for _, _, alone in asked])
    return {
        name: Search(vector[None], 1, (kind,), where, exclude_patient, one_per_patient=False)
        for (kind, name, _), vector in zip(asked, vectors, strict=True)
    }


def archived_already(own: Mapping[str, Search], searches: Searches) -> list[str]:
    """Which scans and texts of the query are archived already, so that the patient's own case answers."""
    found: dict[str, list[str]] = {}
    for name, search in own.items():
        hits = searches.hits(search)
        if hits and hits[0].similarity >= _SAME:
            found.setdefault(hits[0].case_id, []).append(name)
    return [
        f"Archived already: {' and '.join(names)} of the query {'is' if len(names) == 1 else 'are'} that of case {case_id}. The "
        "archive's statistics were fitted on it and it may vote, so the answer knows it; leave its patient out "
        "(--exclude-patient; on its page, under Ask again)."
        for case_id, names in found.items()
    ]


def left_out(unknown: Sequence[str], known: Sequence[str]) -> list[str]:
    """Measurements that were asked with and left out."""
    if not unknown:
        return []
    return [
        f"Left out: {', '.join(unknown)}, which too few archived cases have for this model; it knows "
        f"{', '.join(known) or 'no measurement'}."
    ]


def few_cases(voters: int, shown: int, k: int, where: Filter | None) -> list[str]:
    """That others vote than those on whom the answers were fitted and measured, or fewer cases are shown than asked for."""
    if not voters:
        matching = "matches --where and " if where is not None else ""
        return [f"No archived case {matching}is comparable with the query, so there is no answer."]
    if where is not None:
        return [
            f"Only cases that match --where vote ({voters} do), while probes, stated accuracy and sets are of the "
            "whole archive. Label sets that --where names are not answered: their voters were chosen by their class."
        ]
    if voters < VOTERS:
        return [f"Patients of the archive that are comparable with the query: {voters}, no more vote or can be shown."]
    if shown < k:
        return [f"{shown} cases are shown, not {k}: no more patients of the archive are comparable with the query."]
    return []


def no_answer(asked: Composition, fitted: Sequence[str]) -> str:
    """Why no label set is answered although there are cases that could vote.

    Args:
        fitted: the compositions of queries that any label set can answer.
    """
    if asked in fitted:
        return "No label set is answered: none of the cases that could vote has a label of those that were asked for."
    can = f"it answers queries of {', '.join(fitted)}" if fitted else "it has no label set that it could answer"
    return f"No label set is answered: too few cases of this archive have {asked} together; {can}."
