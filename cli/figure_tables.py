"""Tables of what an evaluation measured."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from medclip.cli.render import out
from medclip.label_sets import family_of

if TYPE_CHECKING:
    from medclip.evaluation.protocols import Figure

__all__ = ["ablation", "figures"]


def figures(measured: Sequence["Figure"]) -> None:
    """Figures in two tables: retrieval, then labels by method; of a multi-label set, the means over its classes."""
    measured = [figure for figure in measured if figure.label_set is None or family_of(figure.label_set) is None]
    retrieval = [figure for figure in measured if figure.label_set is None]
    if retrieval:
        metrics = list(dict.fromkeys(figure.metric for figure in retrieval))
        table = Table(title="retrieval", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for column in ("protocol", "queries", "gallery", *metrics):
            table.add_column(column, justify="left" if column == "protocol" else "right")
        for protocol in dict.fromkeys(figure.protocol for figure in retrieval):
            rows = [figure for figure in retrieval if figure.protocol == protocol]
            cells = {figure.metric: _value(figure) for figure in rows}
            table.add_row(
                protocol, str(rows[0].n), str(rows[0].gallery), *(cells.get(metric, "-") for metric in metrics)
            )
        out.print(table)
    labels = [figure for figure in measured if figure.label_set is not None]
    if labels:
        metrics = list(dict.fromkeys(figure.metric for figure in labels))
        table = Table(title="labels", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for column in ("protocol", "label set", "method", "n", *metrics):
            table.add_column(column, justify="left" if column in ("protocol", "label set", "method") else "right")
        groups = dict.fromkeys((figure.protocol, figure.label_set, figure.method) for figure in labels)
        last: tuple[str, str | None] | None = None
        for key in sorted(
            groups, key=lambda key: (list(dict.fromkeys(g[0] for g in groups)).index(key[0]), str(key[1]))
        ):
            rows = [figure for figure in labels if (figure.protocol, figure.label_set, figure.method) == key]
            cells = {figure.metric: _value(figure) for figure in rows}
            if last is not None and last != key[:2]:
                table.add_section()
            last = key[:2]
            table.add_row(key[0], key[1], key[2], str(rows[0].n), *(cells.get(metric, "-") for metric in metrics))
        out.print(table)


def ablation(measured: Sequence["Figure"]) -> None:
    """A table a label set and metric: what the query shows down, by what it is fused across."""
    measured = [figure for figure in measured if figure.label_set is None or family_of(figure.label_set) is None]
    methods = list(dict.fromkeys(figure.method for figure in measured))
    for label_set in sorted({figure.label_set for figure in measured if figure.label_set}):
        for metric in ("balanced_accuracy", "accuracy", "macro_auroc"):
            rows = [f for f in measured if f.label_set == label_set and f.metric == metric]
            title = f"{label_set}: {metric.replace('_', ' ')}"
            table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
            for column in ("query", "n", *methods):
                table.add_column(column, justify="left" if column == "query" else "right")
            for protocol in dict.fromkeys(figure.protocol for figure in rows):
                cells = {figure.method: _value(figure) for figure in rows if figure.protocol == protocol}
                count = next(figure.n for figure in rows if figure.protocol == protocol)
                table.add_row(protocol, str(count), *(cells.get(method, "-") for method in methods))
            out.print(table)


def _value(figure: "Figure") -> str:
    digits = 1 if figure.metric == "median_rank" else 3
    spread = "" if figure.sd is None else f" ±{figure.sd:.{digits}f}"
    return f"{figure.value:.{digits}f}{spread}"
