"""`make bench-privacy`: planted identifiers that de-identification removes, and other words that it takes along.

200 synthetic studies (`planted.py`). A mention counts as removed if none of its telling strings is left on its line; a
word counts as lost if it stands on the line before, belongs to no mention, and is gone after.
"""

import json
import re
import sys
from argparse import ArgumentParser
from collections import Counter

from planted import Mention, make_study
from rich import box
from rich.console import Console
from rich.table import Table

from medclip.cases.privacy.header import identifiers_of
from medclip.cases.privacy.scrub import Scrubber

_WORD = re.compile(r"[㐀-鿿]|[^\W㐀-鿿]+(?:[.,/'-][^\W㐀-鿿]+)*")
_LEAST_RECALL, _MOST_LOST = 0.99, 0.01


def left(mention: Mention, line: str) -> bool:
    """Whether a telling string of the mention is left on its line, as a word of its own where it is in letters."""
    line = line.replace("主任", "")  # a title, though 任 is a family name
    for secret in mention.secrets:
        inside = bool(re.search(r"[㐀-鿿]", secret)) or secret[0].isdigit()
        edge = "" if inside else r"(?<![^\W_])", "" if inside else r"(?![^\W_])"
        if re.search(edge[0] + re.escape(secret) + edge[1], line, re.IGNORECASE):
            return True
    return False


def words_lost(before: str, after: str, mention: Mention | None) -> tuple[int, int]:
    """(words of a line that are no part of its mention, how many of them are gone)."""
    others = before.replace(mention.written, " ", 1) if mention else before
    had = Counter(_WORD.findall(others))
    return had.total(), (had - Counter(_WORD.findall(after))).total()


def measure(studies: int, seed: int) -> dict[str, object]:
    """Recall by language and kind, and the share of other words lost by language."""
    planted: Counter[tuple[str, str]] = Counter()
    removed: Counter[tuple[str, str]] = Counter()
    missed: Counter[str] = Counter()
    words: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    examples: Counter[str] = Counter()
    for number in range(studies):
        study = make_study(number, seed)
        scrubbed = Scrubber(identifiers_of(study.header)).scrub("\n".join(study.lines)).split("\n")
        assert len(scrubbed) == len(study.lines)
        for before, after, mention in zip(study.lines, scrubbed, study.mentions, strict=True):
            language = mention.language if mention else ("zh" if re.search("[㐀-鿿]", before) else "en")
            total, gone = words_lost(before, after, mention)
            words[language] += total
            lost[language] += gone
            if gone:
                examples[f"{before} -> {after}"] += 1
            if mention is not None:
                where = (language, f"{mention.kind}{'' if mention.attribute else ' (no header)'}")
                planted[where] += 1
                removed[where] += not left(mention, after)
                if left(mention, after):
                    missed[f"{where} {mention.spelling} {mention.attribute}: {before} -> {after}"] += 1
    total, found = planted.total(), removed.total()
    return {
        "studies": studies,
        "seed": seed,
        "planted": total,
        "recall": found / total,
        "by_kind": [
            {"language": k[0], "kind": k[1], "planted": planted[k], "recall": removed[k] / planted[k]}
            for k in sorted(planted)
        ],
        "words": dict(words),
        "lost": {language: lost[language] / words[language] for language in sorted(words)},
        "missed": [line for line, _ in missed.most_common()],
        "words_lost_in": [line for line, _ in examples.most_common()],
    }


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print JSON, with the lines that went wrong")
    chosen = parser.parse_args()
    found = measure(chosen.studies, chosen.seed)
    good = found["recall"] >= _LEAST_RECALL and max(found["lost"].values()) <= _MOST_LOST  # type: ignore[operator,union-attr,attr-defined]
    if chosen.json:
        print(json.dumps(found, ensure_ascii=False, indent=1))
    else:
        title = f"planted identifiers removed: {found['studies']} studies, seed {found['seed']}"
        table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
        for column in ("language", "kind", "planted", "recall"):
            table.add_column(column)
        for row in found["by_kind"]:  # type: ignore[attr-defined]
            table.add_row(row["language"], row["kind"], f"{row['planted']:,}", f"{row['recall']:.4f}")
        table.add_section()
        table.add_row("all", "all", f"{found['planted']:,}", f"{found['recall']:.4f}")
        for language, share in found["lost"].items():  # type: ignore[attr-defined]
            table.add_row(language, "other words lost", f"{found['words'][language]:,}", f"{share:.4%}")  # type: ignore[index]
        Console(width=100).print(table)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
