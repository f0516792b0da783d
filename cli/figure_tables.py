"""Tables of what an evaluation measured."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from medclip.cli.render import out
from medclip.diagnosis.novelty import LEVEL
from medclip.diagnosis.sets import COVERAGE
from medclip.evaluation.class_coverage import CLASS_COVERAGE, LEAST, LEAST_PATIENTS
from medclip.evaluation.subgroups import MINUS_REST
from medclip.label_sets import family_of

if TYPE_CHECKING:
    from medclip.evaluation.protocols import Figure

__all__ = ["ablation", "figures"]

_OF_SETS = ("coverage", "set_size", LEAST)


def figures(measured: Sequence["Figure"]) -> None:
    """Figures in tables: retrieval, labels by method, similar cases; of a multi-label set, the means over its classes.

    Then one for every protocol and label set, each class of a multi-label set too, whose rows are groups of patients.
    """
    of_classes = [figure for figure in measured if figure.metric == CLASS_COVERAGE]
    groups = [figure for figure in measured if figure.group is not None and figure not in of_classes]
    measured = [figure for figure in measured if figure.group is None]
    measured = [figure for figure in measured if figure.label_set is None or family_of(figure.label_set) is None]
    retrieval = [figure for figure in measured if figure.method == "retrieval"]
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
    _by_method("labels", [one for one in labels if not one.metric.startswith("hit@") and one.metric not in _OF_SETS])
    _of_sets([figure for figure in labels if figure.metric in _OF_SETS], of_classes)
    title = "the right class among the first cases shown, by chance, among the answer's first classes"
    _by_method(title, [figure for figure in labels if figure.metric.startswith("hit@")])
    _unlike([figure for figure in measured if figure.method == "novelty"])
    for protocol, label_set in dict.fromkeys((figure.protocol, figure.label_set) for figure in groups):
        own = [figure for figure in groups if (figure.protocol, figure.label_set) == (protocol, label_set)]
        _by_group(f"{label_set}, asked with {protocol}: the answer by group (95 %), and less all others", own)


def _unlike(measured: Sequence["Figure"]) -> None:
    if not measured:
        return
    title = f"unseen patients of whom nothing like it is said to be in the archive (by chance {LEVEL:.0%})"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("protocol")
    for column in ("n", "called unlike"):
        table.add_column(column, justify="right")
    for figure in measured:
        table.add_row(figure.protocol, str(figure.n), _value(figure))
    out.print(table)


def _of_sets(measured: Sequence["Figure"], of_classes: Sequence["Figure"]) -> None:
    if not measured:
        return
    title = f"sets of labels that promise {COVERAGE:.0%}: for how many patients the set holds the right class"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    least = f"least of the classes of {LEAST_PATIENTS} patients or more"
    for column in ("protocol", "label set", "n", "holds it", "labels within", least):
        table.add_column(column, justify="left" if column in ("protocol", "label set", least) else "right")
    for key in dict.fromkeys((figure.protocol, figure.label_set) for figure in measured):
        own = {one.metric: one for one in measured if (one.protocol, one.label_set) == key}
        lowest = next((one for one in of_classes if LEAST in own and _is_least(one, own[LEAST])), None)
        told = "-" if lowest is None else f"{lowest.group}: {_with_interval(lowest)}".replace("\n", ", ")
        cells = (str(own["coverage"].n), _value(own["coverage"]), _value(own["set_size"]), told)
        table.add_row(key[0], key[1], *cells)
    out.print(table)


def _is_least(one: "Figure", least: "Figure") -> bool:
    of = {one.label_set, family_of(one.label_set or "")}
    return one.protocol == least.protocol and least.label_set in of and (one.value, one.n) == (least.value, least.n)


def _by_group(title: str, measured: Sequence["Figure"]) -> None:
    rest = {(figure.group, figure.metric): figure for figure in measured if figure.metric.endswith(MINUS_REST)}
    plain = [figure for figure in measured if not figure.metric.endswith(MINUS_REST)]
    metrics = list(dict.fromkeys(figure.metric for figure in plain))
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("group", "n", *(metric.replace("_", " ") for metric in metrics)):
        table.add_column(column, justify="left" if column == "group" else "right")
    for group in dict.fromkeys(figure.group for figure in plain):
        own = {figure.metric: figure for figure in plain if figure.group == group}
        patients = next(iter(own.values())).n
        table.add_row(group, str(patients), *(_with_interval(own.get(metric)) for metric in metrics))
        others = [rest.get((group, metric + MINUS_REST)) for metric in metrics]
        if any(others):
            table.add_row("  less all others", "", *(_with_interval(one, signed=True) for one in others))
    out.print(table)


def _with_interval(figure: "Figure | None", *, signed: bool = False) -> str:
    """The value, and below it its interval; "-" for what could not be told."""
    if figure is None:
        return "-"
    sign = "+" if signed or figure.metric == "stated_minus_accuracy" else ""
    values = [figure.value, *(figure.interval or ())]
    value, *limits = (f"{one:{sign}.3f}" for one in values)
    return f"{value}\n{' to '.join(limits) or '-'}"


def _by_method(title: str, labels: Sequence["Figure"]) -> None:
    if not labels:
        return
    metrics = list(dict.fromkeys(figure.metric for figure in labels))
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("protocol", "label set", "method", "n", *metrics):
        table.add_column(column, justify="left" if column in ("protocol", "label set", "method") else "right")
    groups = dict.fromkeys((figure.protocol, figure.label_set, figure.method) for figure in labels)
    last: tuple[str, str | None] | None = None
    for key in sorted(groups, key=lambda key: (list(dict.fromkeys(g[0] for g in groups)).index(key[0]), str(key[1]))):
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
