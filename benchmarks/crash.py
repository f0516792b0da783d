"""`make crash`: every command that writes, killed at random moments, alone and beside another.

After each kill the target must be what it was before, or what the command makes of it, and verify; run again, the
command must leave nothing behind; and once a patient is removed, no byte of theirs may stand in or beside the index but
where `remove` says so. What failed is printed with its seed, and its folder is kept.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from medclip.cases.manifest import read_cases
from tests.crash.killing import ACTIONS, Length, Outcome, forks, measure, trial
from tests.crash.world import World, make_world
from tests.tiny import tiny_towers

TRAININGS = 0.02  # of the kills: a training takes much longer than the rest


def _model(cases: Path) -> Path:
    """A small model, trained on the cases."""
    from medclip.training.run import train_model
    from medclip.training.settings import Settings

    out = cases.parent / "model"
    towers = cases.parent / "towers"
    tiny_towers(towers)
    train_model(
        read_cases(cases), cases, out, towers_name=f"local-dir:{towers}", settings=Settings(epochs=3), threads=1
    )
    return out


def _share(count: int) -> list[str]:
    """Which action each kill is of."""
    quick = [action for action in ACTIONS if action != "train"]
    trainings = round(count * TRAININGS)
    return ["train"] * trainings + [quick[i % len(quick)] for i in range(count - trainings)]


def _table(outcomes: list[Outcome]) -> str:
    rows = ["| operation | kills | beside another | done before the kill | state before | state after | failures |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"]  # fmt: skip
    for action in (*ACTIONS, "all"):
        mine = [one for one in outcomes if action in (one.action, "all")]
        counts = Counter(
            beside=sum(one.second is not None for one in mine),
            done=sum(not one.killed for one in mine),
            after=sum(one.changed for one in mine),
            failed=sum(one.failure is not None for one in mine),
        )
        before = len(mine) - counts["after"] - counts["failed"]
        cells = (len(mine), counts["beside"], counts["done"], before, counts["after"], counts["failed"])
        rows.append(f"| {action} | {' | '.join(map(str, cells))} |")
    return "\n".join(rows)


def main() -> int:
    """Kill, print the table, and return 1 where anything failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    print(f"{options.count} kills, seed {options.seed}", flush=True)
    began = time.monotonic()
    root = Path(tempfile.mkdtemp(prefix="medclip-crash-"))
    world = make_world(root, _model, f"local-dir:{root / 'towers'}")
    context = forks(train=True)
    wanted = _share(options.count)
    lengths = {action: measure(context, action, world, root / "measured") for action in dict.fromkeys(wanted)}
    outcomes: list[Outcome] = []
    with ThreadPoolExecutor(options.jobs) as workers:
        try:
            for done in workers.map(
                lambda job: _one(context, world, root, lengths, options.seed, *job), enumerate(wanted)
            ):
                outcomes.append(done)
        except KeyboardInterrupt:  # what was done until then is told
            workers.shutdown(cancel_futures=True)
    failures = [one.failure for one in outcomes if one.failure is not None]
    print(_table(outcomes))
    print(f"{len(outcomes)} kills in {time.monotonic() - began:.0f} s")
    for failure in failures[:20]:
        print(failure)
    if not failures:
        shutil.rmtree(root)
    return 1 if failures else 0


def _one(
    context: Any, world: World, root: Path, lengths: dict[str, Length], seed: int, number: int, action: str
) -> Outcome:
    outcome = trial(
        context, action, world, root / f"trial-{number}", lengths[action], random.Random(f"{seed}:{number}")
    )
    if outcome.failure:
        print(f"kill {number}: {outcome.failure}", file=sys.stderr, flush=True)
    return outcome


if __name__ == "__main__":
    sys.exit(main())
