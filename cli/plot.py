"""Figures as pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medclip.files.outputs import check_free_file, new_file
from medclip.label_sets import family_of

if TYPE_CHECKING:
    from medclip.assistant.assistant import Capability
    from medclip.evaluation.protocols import Figure

__all__ = ["check_picture", "draw_ablation", "draw_reliability"]

_FORMATS = (".png", ".svg", ".pdf")
_ACROSS = 5  # panels side by side


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

    drawn = [
        (capability.label_set, name, found)
        for capability in capabilities
        if family_of(capability.label_set) is None
        for name, found in capability.measured.items()
    ]
    if not drawn:
        raise OutputError(f"{file}: there is nothing to draw; the index has no answers whose accuracy was measured")
    lines = -(-len(drawn) // _ACROSS)
    canvas = Canvas(figsize=(2.6 * _ACROSS, 2.8 * lines), layout="constrained")
    panels = canvas.subplots(lines, _ACROSS, squeeze=False).ravel()
    for panel, (label_set, name, found) in zip(panels, drawn, strict=False):
        panel.plot([0, 1], [0, 1], color="grey", lw=0.7)
        panel.plot([one.stated for one in found.bins], [one.right for one in found.bins], marker="o", ms=4)
        for one in found.bins:
            patients = f"{one.share * found.patients:.0f}"
            panel.annotate(patients, (one.stated, one.right), (3, -9), textcoords="offset points", fontsize=7)
        panel.set_title(f"{label_set}\n{name.replace('+', ' + ')}", loc="left", fontsize=8)
        panel.set_xlim(0, 1)
        panel.set_ylim(0, 1)
        panel.set_aspect("equal")
        panel.tick_params(labelsize=7)
        panel.spines[["top", "right"]].set_visible(False)
    for panel in panels[len(drawn) :]:
        panel.set_axis_off()
    canvas.supxlabel("stated probability", fontsize=9)
    canvas.supylabel("right", fontsize=9)
    with new_file(file) as partial:
        canvas.savefig(partial, dpi=150, format=file.suffix.removeprefix("."))
