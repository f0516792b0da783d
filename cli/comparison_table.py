"""The table of ``medclip train --compare``."""

import math
from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from medclip.cli import render
from medclip.evaluation.comparison import Compared, Difference
from medclip.evaluation.protocols import Figure
from medclip.label_sets import family_of

__all__ = ["show"]

_SHOWN = {
    "retrieval": ("recall@1", "recall@10", "median_rank"),
    "combined": ("accuracy", "balanced_accuracy", "macro_auroc"),
}
_METRICS = {
    "median_rank": "median rank",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced",
    "macro_auroc": "AUROC",
}
_LESS_IS_BETTER = frozenset({"median_rank"})

Key = tuple[str, str | None, str, str]


def show(found: Sequence[Compared]) -> None:
    """A column for each towers: retrieval, the answers by label set, then what they cost."""
    by_key = [{_key(figure): figure for figure in one.figures if _is_shown(figure)} for one in found]
    tested = [d for one in found for key in by_key[0] if (d := _difference(one, key)) is not None]
    sure = [d for d in tested if _is_sure(d)]
    table = Table(
        title="towers compared on the same cases", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    for column in ("asked with", "figure", "n", *(one.name for one in found)):
        table.add_column(column, justify="left" if column in ("asked with", "figure") else "right", overflow="fold")
    last: str | None = None
    for key in dict.fromkeys(key for figures in by_key for key in figures):
        protocol, label_set, _, metric = key
        if last not in (None, protocol):
            table.add_section()
        own = [figures.get(key) for figures in by_key]
        values = [figure.value for figure in own if figure is not None and not math.isnan(figure.value)]
        best = min(values, default=None) if metric in _LESS_IS_BETTER else max(values, default=None)
        apart = [_difference(one, key) for one in found]
        cells = [
            _cell(figure, better=figure is not None and figure.value == best and len(set(values)) > 1, apart=difference)
            for figure, difference in zip(own, apart, strict=True)
        ]
        name = _METRICS.get(metric, metric) if label_set is None else f"{label_set}, {_METRICS[metric]}"
        asked = next(figure.n for figure in own if figure is not None)
        table.add_row(protocol if protocol != last else "", name, str(asked), *cells)
        last = protocol
    table.add_section()
    table.add_row("a scan", "ms, one thread", "", *(f"{one.cost.scan_seconds * 1000:.1f}" for one in found))
    table.add_row("a text", "ms, one thread", "", *(f"{one.cost.text_seconds * 1000:.1f}" for one in found))
    table.add_row("on disk", "MB to serve", "", *(f"{one.cost.megabytes:.0f}" for one in found))
    table.add_row("weights", "licence", "", *(one.licence for one in found))
    render.out.print(table)
    render.say(
        "ms a scan: of a prepared picture, its file read before; ms a text: median of those of the cases that it reads."
    )
    marked = f"{len(sure)} of {len(tested)}, of which {len(tested) / 20:.0f} would be by chance"
    render.say(
        f"*: the best of a row. + or -: more or less than {found[0].name} by more than draws of the same patients leave open "
        f"(95 %, all folds pooled): {marked if tested else 'nothing could be tested'}. Accuracies without a sign may differ by "
        "chance; retrieval and AUROC are not tested."
    )


def _key(figure: Figure) -> Key:
    return figure.protocol, figure.label_set, figure.method, figure.metric


def _is_shown(figure: Figure) -> bool:
    whole = figure.group is None and (figure.label_set is None or family_of(figure.label_set) is None)
    return whole and figure.metric in _SHOWN.get(figure.method, ())


def _is_sure(one: Difference) -> bool:
    return one.interval is not None and not one.interval[0] <= 0 <= one.interval[1]


def _difference(one: Compared, key: Key) -> Difference | None:
    wanted = (key[0], key[1], key[3])
    return next((d for d in one.differences if (d.protocol, d.label_set, d.metric) == wanted), None)


def _cell(figure: Figure | None, *, better: bool, apart: Difference | None) -> Text:
    if figure is None or math.isnan(figure.value):  # as the AUROC of classes of which the queries hold one
        return Text("-")
    digits = 1 if figure.metric == "median_rank" else 3
    spread = "" if figure.sd is None else f" ±{figure.sd:.{digits}f}"
    sign = "" if apart is None or not _is_sure(apart) else "+ " if apart.value > 0 else "- "
    return Text(f"{sign}{figure.value:.{digits}f}{spread}{'*' if better else ' '}", "bold" if better else "")
