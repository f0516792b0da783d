"""``make bench-hybrid``: a text query answered by vectors, by words (BM25), and by both rankings fused.

Two questions:

- *like cases*: the history of a case that the index has never seen asks, and counted is which share of the 10 similar
  cases has the same label;
- *the very case*: each archived case is asked for by the name of its diagnosis, which is never embedded nor among the
  words that are searched, though its report may use some of them.
"""

import argparse
from pathlib import Path

import numpy as np

from medclip.assistant.assistant import Assistant
from medclip.cases import read_cases

WAYS = ("vectors", "words", "both")


def search(assistant: Assistant, text: str, way: str, patient: str | None, kinds: tuple[str, ...]) -> list[str]:
    """Ids of the 10 most similar cases."""
    index = assistant.index
    if way == "words":
        from medclip.index.backends.base import Scope

        return list(index._backend.words(text, 10, Scope(exclude_patient=patient)))
    vector = assistant.embedder.texts([text])[0]
    query = np.zeros((1, index.dimension), np.float32)
    query[0, : len(vector)] = vector
    words = [text] if way == "both" else []
    return [hit.case_id for hit in index.search(query, 10, kinds=kinds, exclude_patients=[patient], words=words)[0]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", type=Path)
    parser.add_argument("index", type=Path)
    options = parser.parse_args()
    assistant = Assistant.open(options.index)
    labels = {record.id: record.labels for record in assistant.index.records()}
    unseen = [case for case in read_cases(options.cases) if case.split == "dev" and case.note_text("history")]
    archived = [case for case in read_cases(options.cases) if case.id in labels and case.outcome.diagnosis]
    for name in ("location", "category"):
        asked = [case for case in unseen if name in case.case_labels]
        for way in WAYS:
            shares = []
            for case in asked:
                found = search(assistant, case.note_text("history"), way, case.patient, ("report", "history", "fused"))
                shares.append(
                    np.mean([labels[one].get(name) == case.case_labels[name] for one in found]) if found else 0
                )
            print(
                f"like cases, {name}, {way}: {np.mean(shares):.3f} of 10 have it ({len(asked)} histories)", flush=True
            )
    for way in WAYS:
        ranks = []
        for case in archived:
            found = search(assistant, case.outcome.diagnosis or "", way, None, ("report", "history", "fused"))
            ranks.append(found.index(case.id) + 1 if case.id in found else 99)
        ranks_ = np.asarray(ranks)
        print(f"the very case, {way}: R@1 {np.mean(ranks_ <= 1):.3f}, R@10 {np.mean(ranks_ <= 10):.3f} ({len(ranks)} cases)",
              flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
