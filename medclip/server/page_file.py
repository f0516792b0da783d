"""The answer as one self-contained page in a file, which needs no server."""

import base64
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from medclip.assistant.asking import Asked
from medclip.assistant.assistant import Assistant
from medclip.files.outputs import new_file
from medclip.modalities.scan.read import thumbnail
from medclip.server.pages import answer_page, pictures_of, style

__all__ = ["MARK", "write_page"]

MARK = b'name="generator" content="medclip"'
"""In the head of every page: what says that it is ours to replace."""

_QUERY_SIDE = 360  # pixels


def _uri(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")


def _asked_pictures(assistant: Assistant, asked: Asked, case_id: str | None) -> Sequence[str]:
    if case_id is None:
        return [_uri(thumbnail(scan.middle, _QUERY_SIDE)) for scan in asked.scans]
    return [_uri(jpeg) for _, jpeg in sorted(assistant.index.thumbnails(case_id).items())]


def write_page(
    file: Path,
    assistant: Assistant,
    asked: Asked,
    *,
    title: str,
    texts: Sequence[str],
    case_id: str | None,
    force: bool = False,
) -> None:
    """Write the page.

    Args:
        texts: of the query.
        case_id: the archived case that was asked about, if it was one.

    Raises:
        OutputError: the file exists (without `force`) or cannot be written.
    """
    written = answer_page(
        asked.answer,
        title=title,
        texts=texts,
        asked=_asked_pictures(assistant, asked, case_id),
        pictures=lambda case: pictures_of(case, assistant.index.thumbnails, lambda _, jpeg: _uri(jpeg)),
        inline_style=Markup(style()),
    )
    with new_file(file, marker=MARK, force=force) as partial:
        partial.write_text(written, encoding="utf-8")
