"""What a model's own files say of its licence and its intended use."""

import re
from pathlib import Path

from medclip.training.towers.files import read_json

__all__ = ["MARK", "UNKNOWN", "intended_use_of", "licence_of", "restriction", "title_of"]

UNKNOWN = "not stated"

MARK = "fetched.json"
"""In a folder that ``medclip model fetch`` made: where it is from, and the checksums of its files."""

_FRONT = re.compile(r"\A---\s*\n(.*?)\n---\s*(?:\n|\Z)", re.DOTALL)
_FIELD = re.compile(r"^(license|license_name|license_link)[ \t]*:[ \t]*(?:\n[ \t]*-[ \t]*)?(\S[^\n#]*)", re.MULTILINE)
_HEADING = re.compile(r"^#+[^\n]*\b(?:intended|direct)[ -]use", re.IGNORECASE | re.MULTILINE)
_RESTRICTED = {
    "-nc": "it forbids commercial use",
    "health-ai-developer-foundations": "its terms bind whoever serves it, and forbid clinical use without clearance",
    "research": "it allows research alone",
}
_MOST = 600  # characters of an intended use


def _card(folder: Path) -> str:
    card = folder / "README.md"
    return card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""


def title_of(folder: Path) -> str:
    """What a folder's model is called: by where it was fetched from, by the hub's cache, or by the folder alone."""
    if (folder / MARK).is_file():
        return str(read_json(folder, MARK).get("from", folder.name))
    if folder.parent.name == "snapshots":  # .../models--ORG--NAME/snapshots/REVISION
        return folder.parent.parent.name.removeprefix("models--").replace("--", "/")
    return folder.resolve().name


def licence_of(folder: Path) -> str:
    """The licence that the card's front matter names, with its link; else the first line of a licence file; else `UNKNOWN`."""
    front = _FRONT.match(_card(folder))
    if front:
        said = {name: value.strip(" \t'\"") for name, value in _FIELD.findall(front[1])}
        name = said.get("license_name") or said.get("license")
        if name:
            return f"{name} ({said['license_link']})" if "license_link" in said else name
    for file in ("LICENSE", "LICENSE.txt", "LICENSE.md"):
        if (folder / file).is_file():
            lines = (folder / file).read_text(encoding="utf-8", errors="replace").splitlines()
            return next((line.strip("# \t") for line in lines if line.strip("# \t")), UNKNOWN)
    return UNKNOWN


def intended_use_of(folder: Path) -> str | None:
    """The first paragraph below a heading of intended use on the card; None where there is none."""
    card = _card(folder)
    found = _HEADING.search(card)
    if found is None:
        return None
    rest = card[found.end() :].split("\n", 1)[-1]
    for paragraph in re.split(r"\n\s*\n", rest):
        text = " ".join(
            line.lstrip("> ").rstrip() for line in paragraph.splitlines() if not line.startswith("#")
        ).strip()
        if text:
            return text if len(text) <= _MOST else f"{text[:_MOST].rsplit(' ', 1)[0]} ..."
    return None


def restriction(licence: str) -> str | None:
    """What a licence forbids that a group which serves a model should know of; None where nothing is known."""
    lowered = licence.lower()
    return next((said for sign, said in _RESTRICTED.items() if sign in lowered), None)
