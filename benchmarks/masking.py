"""What is left of the diagnoses in cases that ``medclip cases mask`` has masked: ``make bench-masking``.

``masking.py CASES MASKED`` prints, for each split, the share of the cases in whose history, findings or captions a word of
the case's own diagnosis stands, before and after, and every pair of such words that is left. It asks nothing of the masker:
two words count as the same where one begins like the other (`_PREFIX` of the longer's letters, at least `_LETTERS`) or
ends in the other. That is cruder than the masker, finds what its stems miss, and takes some words for others that are not.

Without folders it imports and masks MedPix 2.0, whose place the variable MEDPIX names.
"""

import json
import math
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_LETTERS, _PREFIX, _HEAD = 4, 0.6, 5  # letters; share of the longer word's letters; letters that a word may end in
_AIM = 0.01  # of the cases

# The words by which the texts of MedPix' 602 cases meet their own diagnoses, before masking, that say no disease: parts of
# the body, sides, courses and everyday words. Read by hand from the list of all such words, not taken from the masker's.
_SAY_NOTHING = frozenset(json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))["say_nothing"])


def _words(text: str) -> set[str]:
    return {word for word in re.findall(r"[a-z]+", text.lower()) if len(word) >= _LETTERS}


def _alike(one: str, other: str) -> bool:
    shorter, longer = sorted((one, other), key=len)
    shared = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(shorter))
    ends = len(shorter) >= _HEAD and longer.endswith(shorter)
    return ends or shared >= max(_LETTERS, math.ceil(_PREFIX * len(longer)))


def _texts(case: dict[str, Any]) -> str:
    captions = [scan.get("caption") or "" for scan in case.get("scans", [])]
    return "\n".join([note["text"] for note in case.get("notes", [])] + captions).replace("[masked]", " ")


def said(case: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Word of the case's diagnosis, and the word of its texts that says it."""
    diagnosis = _words(case.get("outcome", {}).get("diagnosis") or "") - _SAY_NOTHING
    for word in sorted(_words(_texts(case)) - _SAY_NOTHING):
        for own in sorted(diagnosis):
            if _alike(own, word):
                yield own, word


def _read(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "cases.jsonl").read_text(encoding="utf-8").splitlines()]


def measure(folder: Path, masked: Path) -> float:
    """Print the figures; returns the share of all cases in which a word is left."""
    before, after = _read(folder), _read(masked)
    for split in sorted({case.get("split") or "none" for case in before}):
        pairs = [(a, b) for a, b in zip(before, after, strict=True) if (a.get("split") or "none") == split]
        shares = [sum(any(said(case)) for case in side) / len(pairs) for side in zip(*pairs, strict=True)]
        print(f"{split}: {len(pairs)} cases; the diagnosis stands in {shares[0]:.1%} before, {shares[1]:.1%} after")
    left = Counter(pair for case in after for pair in said(case))
    for (own, word), times in sorted(left.items()):
        print(f"  left: {word} (diagnosis: {own}), {times} cases")
    runs = [line.count("[masked]") for line in map(json.dumps, after)]
    words = [len(_texts(a).split()) - len(_texts(b).split()) for a, b in zip(before, after, strict=True)]
    print(f"masked: {sum(runs) / len(runs):.2f} places a case; {sum(words) / len(words):.2f} words a case")
    total = sum(len(_texts(case).split()) for case in before)
    print(f"        {sum(words) / total:.2%} of all words")
    share = sum(any(said(case)) for case in after) / len(after)
    print(f"all: {share:.2%} of {len(after)} cases (aim: at most {_AIM:.0%}{'' if share <= _AIM else '; not reached'})")
    return share


def main() -> None:
    if len(sys.argv) == 3:
        share = measure(Path(sys.argv[1]), Path(sys.argv[2]))
    else:
        with tempfile.TemporaryDirectory() as place:
            cases, masked = Path(place) / "cases", Path(place) / "masked"
            medclip = [sys.executable, "-P", "-c", "from medclip.cli.app import main; main()", "cases"]
            published = os.environ.get("MEDPIX", "../shared/data/medpix-2.0")
            subprocess.run([*medclip, "import", "medpix-2.0", published, "--out", str(cases)], check=True)
            subprocess.run([*medclip, "mask", str(cases), "--out", str(masked)], check=True)
            share = measure(cases, masked)
    sys.exit(share > _AIM)


if __name__ == "__main__":
    main()
