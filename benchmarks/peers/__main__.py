"""Runs peers, or prints the table and draws the picture of what was measured."""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import peers as package
from peers.base import peers
from peers.environments import InstallError, python_of
from peers.running import STUCK, Run, StepError, say
from peers.table import table

_TURNS, _TRIALS, _CROWD = 3, 5, 10.0  # changes, kills, seconds that two ask for


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{len(os.sched_getaffinity(0))} cores of {model}, {memory:.0f} GiB"


def _keep(results: dict[str, Any], file: Path) -> None:
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(results, indent=1))
    partial.replace(file)


def _tuned(asked: dict[str, Any]) -> Any:
    """The effort with which what follows is asked: that reaches 0.98, else the best that there is."""
    if "effort" in asked.get("0.98", {}):
        return asked["0.98"]["effort"]
    return max(asked["line"], key=lambda one: one["recall"])["effort"]


def measured(run: Run, found: dict[str, Any], keep: Any, only_steps: list[str]) -> None:
    """All steps of one peer; what fails is said in ``failed`` and ends those that need it."""
    failed: dict[str, str] = {}
    found["failed"] = failed

    def step(name: str, make: Any) -> bool:
        if only_steps and name.split(":")[0] not in only_steps and name != "build":
            return False
        say(f"{run.name}: {name}")
        try:
            found[name] = make()
        except StepError as error:
            failed[name] = str(error)
            if error.reached:
                found[name] = error.reached
        except (OSError, subprocess.SubprocessError) as error:
            failed[name] = f"{type(error).__name__}: {error}"
        keep()
        return name in found

    def reached(so_far: dict[str, Any]) -> None:
        found["ask"] = so_far
        keep()

    if not step("build", run.build):
        return
    step("ask", lambda: run.step("ask", keep=reached))
    effort = _tuned(found["ask"]) if "line" in found.get("ask", {}) else {}
    step("crowd", lambda: run.crowd(effort, _CROWD))
    step("change", lambda: run.step("change", within=STUCK, effort=effort, turns=_TURNS))
    step("syncs", run.syncs)
    step("kill", lambda: run.kills(_TRIALS, effort))
    for name, given in run.peer.variants.items():
        step(f"variant:{name}", lambda given=given: run.variant(given))


def main() -> int:
    parser = argparse.ArgumentParser(prog="peers", description=package.__doc__)
    known = peers()
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument(
        "--only", nargs="+", metavar="PEER", choices=list(known), default=list(known), help=", ".join(known)
    )
    parser.add_argument(
        "--steps", nargs="+", default=[], metavar="STEP", help="ask, crowd, change, syncs, kill, variant"
    )
    parser.add_argument("--again", action="store_true", help="measure anew what the results have already")
    parser.add_argument("--like", type=Path, default=Path("demo/index"), help="an index of real embeddings")
    parser.add_argument("--limit", type=float, default=20, help="minutes a peer may take")
    parser.add_argument(
        "--cores", type=int, default=len(os.sched_getaffinity(0)), help="to build with; two ask at once"
    )
    parser.add_argument("--envs", type=Path, default=Path.home() / ".cache" / "medclip-peers")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "medclip-bench-peers")
    parser.add_argument("--out", type=Path, default=Path("peers.json"), help="results, kept as they come")
    parser.add_argument("--picture", type=Path, help="draw recall against time into this PNG")
    parser.add_argument("--table", action="store_true", help="print the table of the results, and measure nothing")
    options = parser.parse_args()
    results: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}
    if not options.table:
        results = _measure(options, results)
    elif not results:
        raise SystemExit(f"{options.out}: is not there; measure first, without --table")
    print(table(results))
    if options.picture:
        from peers.picture import draw_picture

        draw_picture(results, options.picture)
    return 0


def _measure(options: argparse.Namespace, results: dict[str, Any]) -> dict[str, Any]:
    from peers.prepare import prepared

    if results and results["cases"] != options.cases:
        raise SystemExit(f"{options.out}: is of {results['cases']:,} cases; name another file with --out")
    results = {"cases": options.cases, "machine": _machine(), "peers": {}, **results}
    options.work.mkdir(parents=True, exist_ok=True)
    say(f"{options.cases:,} cases are drawn")
    data = prepared(options.work, options.cases, options.like)
    for name in options.only:
        kind = peers()[name]
        if results["peers"].get(name, {}).get("done") and not options.again:
            continue
        started = time.monotonic()
        about = {"title": kind.title, "setup": kind.setup, "durable": kind.durable, "records": kind.keeps_records,
                 "filtering": kind.filtering, "cores": options.cores}  # fmt: skip
        found = results["peers"][name] = about
        try:
            python = python_of(kind, options.envs)
        except InstallError as error:
            found["failed"] = {"install": str(error)}
            _keep(results, options.out)
            continue
        cores = sorted(os.sched_getaffinity(0))[-options.cores :]
        run = Run(name, python, data, options.work, limit=options.limit * 60, cores=cores)
        measured(run, found, lambda: _keep(results, options.out), options.steps)
        found |= {"done": True, "minutes": (time.monotonic() - started) / 60}
        _keep(results, options.out)
        shutil.rmtree(run.folder, ignore_errors=True)
    return results


if __name__ == "__main__":
    sys.exit(main())
