"""What a reader of an answer should know of the query's texts first."""

from collections.abc import Sequence

from medclip.archive.familiarity import nearest_text, read_familiarity
from medclip.embedding.embedder import Embedder
from medclip.fusion import Parts
from medclip.index import CaseIndex
from medclip.modalities.text.language import languages_read, unread_language

__all__ = ["cautions_of"]


def cautions_of(index: CaseIndex, embedder: Embedder, texts: Sequence[str], parts: Parts) -> list[str]:
    """Plain sentences on texts in a language that the model does not read, and on those far from all archived ones.

    Args:
        texts: the query's, transcripts too.
        parts: the query, embedded.

    Raises:
        ArchiveError: the index' file of what is familiar is damaged.
    """
    if not texts:
        return []
    found = []
    read = languages_read(embedder.model.manifest.reading.scripts)
    named = [unread_language(text, read) for text in texts] if read is not None else []
    foreign = dict.fromkeys(name for name in named if name is not None)
    if foreign:
        reads = "English alone" if len(read or ()) == 1 else f"{len(read or ())} languages, this not among them"
        found.append(
            f"The text seems to be {' and '.join(foreign)}, but this index' model reads {reads}: it was hardly understood, "
            "so do not rely on what was found by it. Translate it."
        )
    familiar = read_familiarity(index)
    if familiar is not None and familiar.nearest is not None:
        texts_alone = parts.without("scan").without("measurements")
        [nearest] = nearest_text(index, embedder.fuser.fuse([texts_alone]))
        if nearest < familiar.nearest:
            found.append(
                f"The text is unlike all reports and histories of the archive (cosine {nearest:.2f} to the nearest; 99 % of "
                f"the archive's own reach {familiar.nearest:.2f}): it may not have been understood, and the cases found "
                "by it may be similar in nothing."
            )
    return found
