"""The results as Markdown."""

from typing import Any

__all__ = ["table"]

_SHARES = ("50 %", "10 %", "1 %", "0.1 %")


def _size(count: float) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _seconds(value: float) -> str:
    return f"{value:.0f} s" if value >= 10 else f"{value:.1f} s" if value >= 1 else f"{value * 1e3:.3g} ms"


def _ms(one: dict[str, Any]) -> str:
    few = f" ({one['asked']} queries)" if one["asked"] < 100 else ""
    return f"{one['p50'] * 1e3:.3g} / {one['p99'] * 1e3:.3g}{few}"


def _effort(effort: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in effort.items()) or "default"


def _rows(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines)


def _failed(one: dict[str, Any], *steps: str) -> str:
    return "; ".join(f"{why}" for step, why in one.get("failed", {}).items() if step in steps) or "-"


def _building(one: dict[str, Any]) -> list[str]:
    title = one["title"]
    build, ask = one.get("build", {}), one.get("ask", {})
    if "seconds" not in build:
        return [title, _failed(one, "install", "build"), "-", "-", "-", "-"]
    opened = f"{_seconds(ask['open'] + ask['first'])}" if "first" in ask else _failed(one, "ask")
    asking = _size(ask["peak"]) if "peak" in ask else "-"
    return [title, _seconds(build["seconds"]), _size(build["peak"]), _size(build["bytes"]), opened, asking]


def _asking(one: dict[str, Any]) -> list[str]:
    ask = one.get("ask", {})
    cells = [one["title"] + ("" if one["records"] else " (numbers alone)")]
    default = ask.get("default")
    cells += [f"{default['recall']:.3f}", _ms(default)] if default else ["-", _failed(one, "ask")]
    for reach in ("0.98", "0.99"):
        got = ask.get(reach, {})
        if "p50" in got:
            cells += [f"{got['recall']:.3f} ({_effort(got['effort'])})", _ms(got)]
        else:
            cells += [f"*not reached* ({got['missed']:.3f})" if "missed" in got else "-", "-"]
    crowd = one.get("crowd")
    cells.append(f"{crowd['each second']:,.0f} ({crowd['by']})" if crowd else _failed(one, "crowd"))
    return cells


def _filtering(one: dict[str, Any], reach: str) -> list[str]:
    ask = one.get("ask", {})
    got = ask.get(reach, {})
    note = {"own": "", "after": " (thrown away after)", "none": ""}[one["filtering"]]
    filters = ask.get("filters", {}).get(reach, {})
    cells = []
    for f in (filters.get(share) for share in _SHARES):
        more = f" ({_effort(f['effort'])})" if f and f["effort"] != got.get("effort") else ""
        cells.append(f"{_ms(f)}, {f['recall']:.3f}{more}" if f else "-")
    plain = f"{_ms(got)}, {got['recall']:.3f}" if "p50" in got else "-"
    return [one["title"] + note, plain, *cells]


def _changing(one: dict[str, Any]) -> list[str]:
    change, kill, syncs = one.get("change", {}), one.get("kill", {}), one.get("syncs", {})
    add = remove = _failed(one, "change")
    if "add" in change:
        missed = change["turns"] - change["found"]
        add = _seconds(change["add"]) + (f", *not found at once {missed} of {change['turns']} times*" if missed else "")
        add += f"; {_seconds(change['next'])}"
    elif "no add" in change:
        add = change["no add"]
    if "remove" in change:
        left = change.get("turns", 0) - change["gone"] if "turns" in change else 0
        remove = _seconds(change["remove"]) + (f", *still there {left} times*" if left > 0 else "")
    elif "no remove" in change:
        remove = change["no remove"]
    waits = "-"
    if "syncs" in one:
        waits = syncs.get("cannot") or ", ".join(f"{n} {name}" for name, n in syncs.items()) or "none"
    elif "syncs" in one.get("failed", {}):
        waits = _failed(one, "syncs")
    return [one["title"], add, remove, waits, _killed(kill) if kill else _failed(one, "kill")]


def _killed(kill: dict[str, Any]) -> str:
    if "cannot" in kill:
        return "-"
    said = [f"opens {kill['opened']} of {kill['trials']} times"]
    if kill["opened"]:
        said.append(f"then lost {kill['lost']:,} of {kill['acknowledged']:,} acknowledged")
    said += [f"half a batch {kill['half']} times"] if kill["half"] else []
    said += [f"*{kill['old lost']} older ones lost*"] if kill["old lost"] else []
    if "recall" in kill:
        said.append(f"recall {kill['recall']:.3f}")
    return ", ".join(said) + (f" ({kill['error']})" if "error" in kill else "")


def _others(one: dict[str, Any]) -> list[list[str]]:
    """What the peer's other builds took, and the quickest effort that reached 0.98, else the best recall."""
    rows = []
    for name, found in one.items():
        if not name.startswith("variant:") or not found.get("line"):
            continue
        enough = [point for point in found["line"] if point["recall"] >= 0.98]
        best = min(enough, key=lambda p: p["p50"]) if enough else max(found["line"], key=lambda p: p["recall"])
        rows.append([f"{one['title']}, {name[8:]}", _seconds(found["seconds"]), _size(found["bytes"]),
                     f"{best['recall']:.3f} ({_effort(best['effort'])})", _ms(best)])  # fmt: skip
    return rows


def table(results: dict[str, Any]) -> str:
    """What was measured, as Markdown: building, asking, filters, changes, and what stands behind each peer."""
    found = list(results["peers"].values())
    some = [one for one in found if "build" in one]
    parts = [
        f"{results['cases']:,} cases of one vector x 256, {results['machine']}. One query at a time on one core, ten "
        "records returned, p50 / p99 of 200 queries x 3 in ms; where a row took over 20 s, fewer.",
        _rows(["", "build", "peak memory", "on disk", "opening, first answer", "peak memory while asking"],
              [_building(one) for one in found]),
        _rows(["", "recall@10, default", "ms", "recall >= 0.98", "ms", "recall >= 0.99", "ms", "queries a second, two cores"],
              [_asking(one) for one in some]),
        "With filters, as tuned to 0.98, and with more effort (named) where a filter found less (ms, recall of what passes):",
        _rows(["", "all", *(f"{share} pass" for share in _SHARES)], [_filtering(one, "0.98") for one in some]),
        "With filters, by default:",
        _rows(["", "all", *(f"{share} pass" for share in _SHARES)], [_filtering(one, "default") for one in some]),
        _rows(["", "add 1,000; next query", "remove a patient", "waits for the disk in an add", "killed while adding"],
              [_changing(one) for one in some]),
        _rows(["", "version", "as built", "durable by"],
              [[one["title"], ", ".join(f"{n} {v}" for n, v in one["build"].get("versions", {}).items()), one["setup"],
                one["durable"]] for one in some]),
    ]  # fmt: skip
    others = [line for one in some for line in _others(one)]
    if others:
        parts.append(_rows(["other builds", "build", "on disk", "recall@10", "ms"], others))
    lines = [f"- {one['title']}: {step}: {why}" for one in found for step, why in one.get("failed", {}).items()]
    if lines:
        parts.append("What failed, or was not reached:\n" + "\n".join(lines))
    return "\n\n".join(parts)
