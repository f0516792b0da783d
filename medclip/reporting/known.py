"""What the program knows for a report, and from which file."""

from dataclasses import dataclass

__all__ = ["Known", "listed"]


@dataclass(frozen=True)
class Known:
    """One thing that fills items of a checklist."""

    text: str  # a sentence or more, plain
    source: str  # the file that it is taken from: MODEL/..., INDEX/..., FIGURES, or medclip itself
    lines: tuple[str, ...] = ()  # further ones, each to stand by itself


def listed(values: dict[str, object]) -> str:
    """``name value, name value``; a nested one in brackets."""
    return ", ".join(f"{name} {f'({listed(one)})' if isinstance(one, dict) else one}" for name, one in values.items())
