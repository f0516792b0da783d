"""How towers are named: one name for both, or ``IMAGE+TEXT``, two names of which each gives one half."""

from pathlib import Path

from medclip.errors import BundleError
from medclip.training.towers.sources.base import source_of

__all__ = ["DEFAULT", "halves_named", "named"]

DEFAULT = "default"

_MULTILINGUAL = "multilingual"
_ENGLISH = "english"  # as the text tower of the default towers is called
_SENTENCES = "sentence-transformers:"


def halves_named(name: str) -> tuple[str, str | None]:
    """``IMAGE+TEXT`` → both names; any other → itself, and None.

    A folder's name may hold a plus sign: the parting is the first at which both sides are names.
    """
    for place, sign in enumerate(name):
        if sign == "+" and source_of(name[:place]) and source_of(name[place + 1 :]):
            return name[:place], name[place + 1 :]
    return name, None


def named(towers: str, image: str | None, text: str | None) -> str:
    """One name of what was asked for by three options.

    Args:
        towers: both; the default towers give what the others do not name.
        image: of the image half alone.
        text: of the text half alone: also ``english``, and a folder or hub name of sentence-transformers as it stands.

    Raises:
        BundleError: both towers and one of them are named.
    """
    if image is None and text is None:
        return towers
    if towers != DEFAULT:
        own = "towers" if image and text else "image tower" if image else "text tower"
        raise BundleError(
            f"towers {towers} bring their own {own}; name each by itself, with --image-tower and --text-tower"
        )
    if text == _ENGLISH:
        text = DEFAULT
    elif text is not None and source_of(text) is None and ("/" in text or Path(text).is_dir()):
        text = f"{_SENTENCES}{text}"
    first, second = image or DEFAULT, text or DEFAULT
    if first == second:
        return first
    return _MULTILINGUAL if (first, second) == (DEFAULT, _MULTILINGUAL) else f"{first}+{second}"
