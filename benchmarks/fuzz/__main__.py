"""`make fuzz`: damaged scans, cases, indexes, exports and models, in equal parts.

Each is given to the functions that the command line uses. It must be read, or refused with one `MedclipError` of one
line: no crash, none over 10 s or 1 GiB (decoders included), none changes a file outside its folder. What failed is
printed with its name and kept; ``--only NAME`` does one again and shows where.
"""

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from running import MEMORY, SECONDS, Outcome, run
from subjects import Subjects, make_subjects
from trials import KINDS, Trial


def _row(kind: str, outcomes: list[Outcome]) -> str:
    verdicts = [outcome.verdict for outcome in outcomes]
    slowest = max(outcome.seconds for outcome in outcomes)
    peak = max(outcome.peak for outcome in outcomes) >> 20
    read, refused = verdicts.count("read"), verdicts.count("refused")
    failed = len(verdicts) - read - refused
    return f"{kind:8} {len(outcomes):7,} {read:7,} {refused:8,} {slowest:9.2f} {peak:9,} {failed:9,}"


def main() -> int:
    """Run, print the counts, and return 1 where anything but a reading or a one-line refusal was seen."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"), help="where what failed is kept")
    parser.add_argument("--only", help="KIND:NUMBER: do this one in this process")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        subjects = Subjects(Path(scratch) / "subjects")
        making = multiprocessing.Process(target=make_subjects, args=(subjects,))  # so that this process stays small
        making.start()
        making.join()
        if options.only:
            kind, _, number = options.only.partition(":")
            room = Path(scratch) / "room"
            for folder in ("place", "beside"):
                (room / folder).mkdir(parents=True)
            print(Trial(kind, int(number), options.seed).prepare(subjects, room)())
            return 0
        kinds = options.kinds.split(",")
        trials = (Trial(kinds[n % len(kinds)], n // len(kinds), options.seed) for n in range(options.count))
        found: dict[str, list[Outcome]] = defaultdict(list)
        started = time.monotonic()
        for outcome in run(trials, subjects, hands=options.jobs, keep=options.keep.resolve()):
            found[outcome.trial.kind].append(outcome)
            if outcome.failed:
                print(f"FAILED {outcome.trial.name} (seed {options.seed}): {outcome.verdict}", flush=True)
    print(f"seed {options.seed}, {options.count:,} trials in {time.monotonic() - started:.0f} s; ", end="")
    print(f"each may take {SECONDS:.0f} s and {MEMORY >> 20:,} MiB")
    print(f"{'kind':8} {'tried':>7} {'read':>7} {'refused':>8} {'slowest s':>9} {'peak MiB':>9} {'failures':>9}")
    for kind in kinds:
        print(_row(kind, found[kind]))
    return 1 if any(outcome.failed for outcomes in found.values() for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
