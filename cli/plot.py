"""Figures as pictures."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medclip.files.outputs import check_free_file, new_file
from medclip.label_sets import family_of
from medclip.metrics.probabilities import interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from medclip.archive.map_upkeep import MapPoint
    from medclip.assistant.assistant import Capability
    from medclip.diagnosis.diagnoser import Measured
    from medclip.evaluation.protocols import Figure
    from medclip.fusion.composition import Composition

__all__ = ["check_picture", "draw_ablation", "draw_map", "draw_reliability"]

_FORMATS = (".png", ".svg", ".pdf")
_DRAWN: tuple["Composition", ...] = ("scan", "history", "report", "scan+history")  # and the one of most parts
_COLOURS = 10  # classes of a map that have a colour of their own, the most frequent ones: matplotlib's palette has ten
_FEWEST = 5  # patients behind a point that is drawn


def check_picture(file: Path) -> None:
    """Refuse a picture that could not be drawn, before the work that it is to show.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        OutputError: the folder is missing, or the suffix names no format that is written.
    """
    from importlib.util import find_spec

    from medclip.errors import MissingDependencyError, OutputError

    if find_spec("matplotlib") is None:
        raise MissingDependencyError("pictures need matplotlib", "train")
    if file.suffix not in _FORMATS:
        raise OutputError(f"{file}: is no picture that can be written; name a {', '.join(_FORMATS)} file")
    check_free_file(file)


def draw_ablation(measured: Sequence["Figure"], file: Path) -> None:
    """Balanced accuracy of every method on every query, a panel a label set, with the spread over folds.

    Raises:
        OutputError: the picture cannot be written.
    """
    from matplotlib.figure import Figure as Canvas

    rows = [f for f in measured if f.metric == "balanced_accuracy" and f.label_set and family_of(f.label_set) is None]
    label_sets = sorted({figure.label_set for figure in rows if figure.label_set})
    methods = list(dict.fromkeys(figure.method for figure in rows))
    protocols = list(dict.fromkeys(figure.protocol for figure in rows))
    canvas = Canvas(figsize=(11, 3.2 * len(label_sets)), layout="constrained")
    panels = canvas.subplots(len(label_sets), 1, squeeze=False)[:, 0]
    width = 0.8 / len(methods)
    for panel, label_set in zip(panels, label_sets, strict=True):
        for number, method in enumerate(methods):
            found = {f.protocol: f for f in rows if f.label_set == label_set and f.method == method}
            places = [i + number * width - 0.4 + width / 2 for i, p in enumerate(protocols) if p in found]
            values = [found[p].value for p in protocols if p in found]
            spread = [found[p].sd or 0.0 for p in protocols if p in found]
            panel.bar(places, values, width, yerr=spread, label=method, error_kw={"lw": 0.7})
        panel.set_title(f"{label_set}: balanced accuracy", loc="left")
        panel.set_xticks(range(len(protocols)), [p.replace("+", "+\n") for p in protocols], fontsize=8)
        panel.set_ylim(0, 1)
        panel.grid(axis="y", alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].legend(ncols=len(methods), fontsize=8, loc="upper left")
    with new_file(file) as partial:
        canvas.savefig(partial, dpi=150, format=file.suffix.removeprefix("."))


def draw_reliability(capabilities: Sequence["Capability"], file: Path) -> None:
    """A reliability diagram a label set and composition: stated probability across, share that was right up.

    On patients left out, each of whom counts once; the number at a point says how many stand behind it.

    Raises:
        OutputError: the picture cannot be written, or there is nothing to draw.
    """
    from matplotlib.figure import Figure as Canvas

    from medclip.errors import OutputError

    drawn = [c for c in capabilities if family_of(c.label_set) is None and c.measured]
    if not drawn:
        raise OutputError(f"{file}: there is nothing to draw; the index has no answers whose accuracy was measured")
    largest = max((name for one in drawn for name in one.measured), key=len)
    shown = [n for n in dict.fromkeys([*_DRAWN, largest]) if any(n in one.measured for one in drawn)]
    canvas = Canvas(figsize=(2.7 * len(shown), 2.9 * len(drawn) + 0.6), layout="constrained")
    panels = canvas.subplots(len(drawn), len(shown), squeeze=False)
    for line, capability in zip(panels, drawn, strict=True):
        for panel, name in zip(line, shown, strict=True):
            _reliability(panel, capability.label_set, name, capability.measured.get(name))
    canvas.suptitle(
        "How often answers came true, on patients left out (number: how many; bar: 95 % interval)", fontsize=9
    )
    canvas.supxlabel("stated probability", fontsize=9)
    canvas.supylabel("right", fontsize=9)
    with new_file(file) as partial:
        canvas.savefig(partial, dpi=150, format=file.suffix.removeprefix("."))


def _reliability(panel: "Axes", label_set: str, name: str, found: "Measured | None") -> None:
    if found is None:
        panel.set_axis_off()
        return
    panel.plot([0, 1], [0, 1], color="grey", lw=0.7)
    for one in found.bins:
        if (patients := round(one.share * found.patients)) >= _FEWEST:
            low, high = interval(one.right, patients)
            panel.errorbar(
                one.stated,
                one.right,
                [[max(0.0, one.right - low)], [max(0.0, high - one.right)]],
                marker="o",
                ms=4,
                color="C0",
                lw=0.8,
            )
            panel.annotate(str(patients), (one.stated, one.right), (4, -9), textcoords="offset points", fontsize=7)
    panel.set_title(f"{label_set}\n{name.replace('+', ' + ')}", loc="left", fontsize=7)
    panel.set_xlim(0, 1.05)
    panel.set_ylim(0, 1.05)
    panel.set_aspect("equal")
    panel.tick_params(labelsize=7)
    panel.spines[["top", "right"]].set_visible(False)


def draw_map(points: Sequence["MapPoint"], file: Path, colour: str | None) -> None:
    """Cases as points, coloured by their values of a field: of a text the most frequent ones, of several the first.

    Raises:
        OutputError: the picture cannot be written, or there is nothing to draw.
    """
    from matplotlib.figure import Figure as Canvas

    from medclip.errors import OutputError

    if not points:
        raise OutputError(f"{file}: there is nothing to draw; no case is on the map")
    canvas = Canvas(figsize=(8, 6.5), layout="constrained")
    panel = canvas.subplots()
    unknown = [point for point in points if not point.values]
    known = [point for point in points if point.values]
    size = max(2.0, min(24.0, 12_000 / len(points)))
    if unknown:
        label = "unknown" if colour else None
        panel.scatter([p.x for p in unknown], [p.y for p in unknown], s=size, color="lightgrey", lw=0, label=label)
    if known and isinstance(known[0].values[0], float):
        numbers = [float(point.values[0]) for point in known]
        drawn = panel.scatter([p.x for p in known], [p.y for p in known], s=size, c=numbers, cmap="viridis", lw=0)
        canvas.colorbar(drawn, ax=panel, label=colour, shrink=0.7)
    elif known:
        _classes(panel, known, size)
        panel.legend(
            title=colour, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, markerscale=1.5
        )
    panel.set_title(f"{len(points)} cases; near is alike, distances between groups say little", loc="left", fontsize=9)
    panel.set_aspect("equal")
    panel.set_xticks([])
    panel.set_yticks([])
    panel.spines[:].set_visible(False)
    with new_file(file) as partial:
        canvas.savefig(partial, dpi=150, format=file.suffix.removeprefix("."))


def _classes(panel: "Axes", points: Sequence["MapPoint"], size: float) -> None:
    """The points of each class in its colour."""
    counts = Counter(str(point.values[0]) for point in points)
    ranked = [name for name, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    own = {name: f"C{number}" for number, name in enumerate(ranked[:_COLOURS])}
    rest = f"{len(ranked) - _COLOURS} others"
    for name in [*own, rest] if len(ranked) > _COLOURS else own:
        of = [p for p in points if (str(p.values[0]) if str(p.values[0]) in own else rest) == name]
        shown = name if name == rest else f"{name} ({counts[name]})"
        panel.scatter(
            [p.x for p in of], [p.y for p in of], s=size, color=own.get(name, "black"), lw=0, label=_plain(shown)
        )


def _plain(name: str) -> str:
    """A class as a legend shows it: matplotlib leaves out what begins with an underscore and sets what stands in dollars."""
    return ("\u200b" if name.startswith("_") else "") + name.replace("$", r"\$")
