"""The words of ``plain_words.json``, first of all those of diagnoses that name no disease by themselves.

``medclip cases mask`` masks them only beside a word that names one ("left condylar fracture"), since a report without
"left" and "lung" says nothing. A word that is missing is taken for one that names a disease: then too much is masked,
never too little. Collected by hand from the parts of the body (Terminologia Anatomica's chapters) and from the words of
MedPix' diagnoses; compared by their stems, so that one form of each is enough.
"""

import json
from pathlib import Path

__all__ = ["ANATOMY", "ENDINGS", "EVERYDAY", "LINKS", "OTHER_ACRONYMS"]

_WORDS: dict[str, list[str]] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))

ANATOMY = frozenset(_WORDS["anatomy"])
"""Parts of the body, and which part of one."""

EVERYDAY = frozenset(_WORDS["everyday"])
"""Sides, courses, degrees, ways of confirming, and what every report says (mass, lesion, tumor, disease)."""

OTHER_ACRONYMS = frozenset(_WORDS["other_acronyms"])
"""Capitals that say something else in most reports; none is taken for a diagnosis' initials."""

LINKS = frozenset(_WORDS["links"])
"""What a sentence is made of, or how a diagnosis was found: beside a disease's name it says nothing."""

ENDINGS = tuple(_WORDS["endings"])
"""Endings of Snowball stems that are cut until none is left, the longest first.

Nouns and plurals: the Greco-Latin classes of the SPECIALIST Lexicon (NLM; McCray 1994): -us/-i, -um/-a, -on/-a, -a/-ae,
-sis/-ses, -ma/-mata, -is/-es; the rest are the adjectives and participles that are made of them.
"""
