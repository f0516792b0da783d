"""Findings that a report names, and whether it affirms, denies or doubts them.

Terms of a lexicon are found by spaCy, negation and doubt by negspacy (NegEx, Chapman et al. 2001, J Biomed Inform
34:301), with terms of its own for doubt.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from medclip.errors import MissingDependencyError

__all__ = ["Assertion", "FindingReader", "Mention"]

Assertion = Literal["present", "absent", "uncertain"]

_DOUBT = {
    "preceding_negations": [
        "possible", "possibly", "probable", "probably", "suspected", "suspicious for", "suspicion of", "suggestive of",
        "suggests", "suggesting", "may represent", "may be", "may reflect", "might represent", "could represent",
        "could be", "could reflect", "cannot exclude", "can not exclude", "cannot rule out", "not excluded", "question of",
        "questionable", "concerning for", "concern for", "worrisome for", "consider", "differential includes",
        "differential diagnosis includes", "versus", "vs", "or", "likely", "equivocal", "evaluate for", "rule out",
        "r/o", "not rule out", "likely represents", "consistent with possible", "evidence for or against",
    ],
    "following_negations": [
        "is possible", "possible", "is suspected", "suspected", "cannot be excluded", "can not be excluded",
        "not excluded", "is not excluded", "cannot be ruled out", "not ruled out", "is questioned", "is considered",
        "less likely", "is likely", "versus", "vs",
    ],
    "pseudo_negations": ["or more", "or less", "may be seen", "with or without"],
    "termination": ["but", "however", "although", "though", "which", "except", "and", "with"],
}  # fmt: skip
_DENIAL = {
    "preceding_negations": [
        "no convincing", "no focal", "no definite", "no acute", "no suspicious", "no visible", "no pleural", "clear of",
        "absent", "no radiographic evidence of", "no findings of", "lack of", "exclude", "excludes", "resolved",
        "resolution of", "interval resolution of", "no longer any", "no longer",
    ],
    "following_negations": ["is absent", "are absent", "is not seen", "are not seen", "not identified", "is excluded",
                            "has resolved", "have resolved", "resolved", "is not present", "are not present"],
    "pseudo_negations": ["no new", "no change in", "not excluded", "cannot exclude", "can not exclude", "cannot rule out",
                         "cannot be excluded", "can not be excluded", "cannot be ruled out", "is not excluded"],
    "termination": ["with", "showing", "demonstrates"],
}  # fmt: skip
_NOT_DENIALS = {"versus", "evaluate for", "rule out", "r/o", "ro", "cannot", "doubt", "can't", "cant"}


@dataclass(frozen=True)
class Mention:
    """One place where a text names a finding."""

    finding: str  # the lexicon's name
    text: str  # as it is written
    assertion: Assertion


class FindingReader:
    """Finds what a report says of findings."""

    def __init__(self, lexicon: Mapping[str, str]) -> None:
        """Build the pipeline.

        Args:
            lexicon: term in lower case → name of its finding.

        Raises:
            MissingDependencyError: the extra ``label`` is not installed.
        """
        try:
            import spacy
            from negspacy.negation import Negex  # noqa: F401  (registers the component)
            from negspacy.termsets import termset
        except ImportError as error:
            raise MissingDependencyError("labelling needs spaCy and negspacy", "label") from error
        nlp = spacy.blank("en")
        nlp.add_pipe("sentencizer", config={"punct_chars": [".", "!", "?", "\n", ";"]})
        ruler: Any = nlp.add_pipe("entity_ruler", config={"phrase_matcher_attr": "LOWER"})
        with nlp.select_pipes(enable=[]):
            ruler.add_patterns([{"label": "FINDING", "pattern": term, "id": name} for term, name in lexicon.items()])
        denial = {key: [term for term in terms if term not in _NOT_DENIALS] + _DENIAL[key]
                  for key, terms in termset("en_clinical").get_patterns().items()}  # fmt: skip
        for name, terms in (("denied", denial), ("doubted", _DOUBT)):
            nlp.add_pipe("negex", name=name, config={"neg_termset": terms, "extension_name": name})
        self._nlp = nlp

    def read(self, texts: Iterable[str]) -> Iterator[list[Mention]]:
        """The findings that each text names, in their order."""
        for document in self._nlp.pipe(texts):
            yield [Mention(entity.ent_id_, entity.text, _assertion(entity._)) for entity in document.ents]


def _assertion(marks: Any) -> Assertion:
    if marks.denied:
        return "absent"
    return "uncertain" if marks.doubted else "present"
