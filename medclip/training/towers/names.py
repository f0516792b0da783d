"""How towers are named: one name for both, or ``IMAGE+TEXT``, two names of which each gives one half."""

from pathlib import Path

from medclip.training.towers.sources.base import source_of

__all__ = ["DEFAULT", "halves_named", "named"]

DEFAULT = "default"

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
        towers: gives what the others do not name.
        image: of the image half alone.
        text: of the text half alone: also ``english``, and a folder or hub name of sentence-transformers as it stands.
    """
    if text == _ENGLISH:
        text = DEFAULT
    elif text is not None and source_of(text) is None and ("/" in text or Path(text).is_dir()):
        text = f"{_SENTENCES}{text}"
    first, second = halves_named(towers)
    image, text = image or first, text or second or (first if image else None)
    if text is None or text == image:
        return image
    return "multilingual" if (image, text) == (DEFAULT, "multilingual") else f"{image}+{text}"
