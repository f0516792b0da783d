"""In which encoding a text file was saved.

A byte order mark says it, UTF-8 shows itself, and UTF-16 without a mark shows in its first character. What remains is some
8-bit code page, and nothing in the file says which. Windows-1252, of which Latin-1 is a part, is taken where all that is
beyond ASCII reads as one western European language would write it; anything else must be named, since it would be read as
other letters: guessing the code page by statistics needs more text than a short table has.
"""

import codecs
import re

from medclip.errors import CaseError

__all__ = ["decoded"]

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16's, which is its beginning
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

_EVERYWHERE = set("äöüéß")  # in names, in all of these countries
_ALPHABETS = [
    _EVERYWHERE | set(letters)
    for letters in (
        "àâæçèêëîïôœùûÿ",  # French
        "áíóúñàèòïç",  # Spanish, Catalan
        "àèìíòóùú",  # Italian
        "áâãàçêíóôõú",  # Portuguese
        "æøå",  # Danish, Norwegian, Swedish
        "ëïèáó",  # Dutch
    )
]
_SIGNS = set("\xa0°µ²³±×÷½¼¾§«»‹›„“”‘’‚–—…€·ºª¡¿´•©®™")
_INSIDE = r"[^\W\d_][°²³±×÷½¼¾§«»‹›„“”‚…€ºª¡¿•©®™][^\W\d_]"  # a sign as a letter of a word: another code page's letter
_NAME_IT = "name its encoding with --encoding, such as cp1250 or gb18030, or save it as UTF-8"


def _is_western(text: str) -> bool:
    beyond = {ch for ch in text if ord(ch) > 127} - _SIGNS
    letters = {"ß" if ch == "ß" else ch.lower() for ch in beyond}
    return any(letters <= known for known in _ALPHABETS) and not re.search(_INSIDE, text)


def _in(content: bytes, encoding: str, name: str) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise CaseError(f"{name}: is not {encoding.upper()} at line {line}; {_NAME_IT}") from None


def decoded(content: bytes, name: str, encoding: str | None = None) -> tuple[str, str | None]:
    """The text of a file, and a remark where its encoding was inferred from its letters.

    Args:
        content: of the file.
        name: of the file, for the errors.
        encoding: what the user says that it is.

    Raises:
        CaseError: the bytes are not of that encoding, or of none that can be told.
    """
    if encoding is not None:
        try:
            known = codecs.lookup(encoding)
            if not known._is_text_encoding:
                raise LookupError
        except (LookupError, ValueError):
            raise CaseError(f"--encoding {encoding}: is not known; write utf-8, cp1252, cp1250, gb18030 ...") from None
        return _in(content, encoding, name).removeprefix("\ufeff"), None
    for mark, marked in _MARKS:
        if content.startswith(mark):
            return _in(content[len(mark) :], marked, name), None
    if len(content) > 3 and 0 in content[:2] and content[0] != content[1]:
        return _in(content, "utf-16-be" if content[0] == 0 else "utf-16-le", name), None
    try:
        return content.decode(), None
    except UnicodeDecodeError:
        pass
    try:
        text = content.decode("cp1252")
    except UnicodeDecodeError:
        text = ""
    if not text or not _is_western(text):
        raise CaseError(f"{name}: is neither UTF-8 nor UTF-16, and no Latin-1 that reads as a language; {_NAME_IT}")
    return text, f"{name} was read as Latin-1 (Windows-1252); if letters are wrong, name another with --encoding"
