"""Recall against time: a line a peer, over what its queries may spend."""

from pathlib import Path
from typing import Any

__all__ = ["draw_picture"]

_COLOURS = (
    "tab:orange", "tab:cyan", "tab:red", "tab:purple", "tab:brown", "gold", "tab:pink", "tab:gray", "tab:olive", "navy",
    "tab:blue", "limegreen", "darkgreen", "magenta", "teal",
)  # fmt: skip


def draw_picture(results: dict[str, Any], file: Path) -> None:
    """A point an effort, higher and further left is better; a star marks a peer's default."""
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(10, 6.5), layout="constrained")
    panel = canvas.subplots()
    shown = [one for one in results["peers"].values() if one.get("ask", {}).get("line")]
    for number, one in enumerate(shown):
        line = one["ask"]["line"]
        points = [(point["p50"] * 1e3, point["recall"]) for point in line]
        if one["title"] == "medclip":  # its effort is chosen when it is built
            builds = [v for name, v in one.items() if name.startswith("variant:")]
            points += [(p["p50"] * 1e3, p["recall"]) for build in builds for p in build["line"][:1]]
        first = points[0]
        points = sorted(points)
        ours = one["title"] == "medclip"
        style = "-" if one["records"] else "--"
        colour = "black" if ours else _COLOURS[number % len(_COLOURS)]
        marker = "os^vD<>"[number // 10]
        label = one["title"] + ("" if one["records"] else " (no records)")
        panel.plot(
            *zip(*points, strict=True), style, marker=marker, ms=4, lw=2.2 if ours else 1.1, color=colour, label=label
        )
        panel.plot(*first, marker="*", ms=12, color=colour)
    panel.set_xscale("log")
    panel.set_yscale("function", functions=(lambda r: -_log(1.003 - r), lambda v: 1.003 - 10 ** (-v)))
    panel.set_yticks([0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 1.0])
    panel.set_ylim(0, 1.0004)
    panel.xaxis.set_major_formatter("{x:g}")
    panel.axhline(0.98, color="grey", lw=0.7)
    panel.set_xlabel("ms a query, median, one core")
    panel.set_ylabel("recall@10")
    panel.set_title(
        f"{results['cases']:,} cases; a star is the default; dashed lines return numbers alone", loc="left", fontsize=9
    )
    panel.grid(alpha=0.3)
    panel.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    canvas.savefig(file, dpi=120)


def _log(value: Any) -> Any:
    import numpy as np

    return np.log10(np.maximum(value, 1e-4))
