"""One measuring step, in a process of its own: ``python -m peers.step STEP PEER DATA FOLDER ARGUMENTS``.

What was measured is said as lines of JSON, each with all that was reached so far, so that a step that is stopped leaves
what it had. Runs in the peer's environment, so it imports numpy and the peer alone.
"""

import importlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from peers.base import CannotError, Effort, Peer, peers
from peers.data import FILTERS, NEW, Data, overlap, row

ROUNDS, REACH = 3, (0.98, 0.99)
# Seconds that a row of the table may ask for, a point of the line, and a try under a filter; fewer queries than all are
# asked where these are not enough, but twenty.
PATIENCE, GLANCE, TRY = 20.0, 10.0, 5.0
BEGIN, END = "/peers/begin", "/peers/end"  # looked for on the disk, so that a trace of calls shows where a change is


def say(found: dict[str, Any]) -> None:
    print("=" + json.dumps(found), flush=True)


def timed(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def spread(times: list[float]) -> dict[str, float]:
    return {"p50": float(np.percentile(times, 50)), "p99": float(np.percentile(times, 99)), "asked": len(times)}


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for one in found:
        try:
            for task in Path(f"/proc/{one}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
        except OSError:
            continue
    return found


def resident(pid: int) -> int:
    """Bytes of a process, shared pages by its part of them."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


class Memory:
    """The most memory that this process took, and its peer's servers, which are looked at every so often."""

    def __init__(self, peer: Peer) -> None:
        self.peer, self.servers, self.over = peer, 0, threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def _watch(self) -> None:
        while not self.over.wait(0.25):
            self.servers = max(self.servers, sum(resident(p) for pid in self.peer.servers() for p in family(pid)))

    def peak(self) -> int:
        self.over.set()
        self.thread.join()
        status = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:")) + self.servers


def disk(folder: Path) -> int:
    """Bytes that the folder's files take up on the disk."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def numbers(found: Any) -> list[int]:
    return [int(one[0][5:]) for one in found]


# ---- steps


def build(peer: Peer, data: Data, _: Any) -> None:
    memory = Memory(peer)
    seconds = timed(lambda: peer.build(data))
    most = memory.peak()
    say({"seconds": seconds, "peak": most, "bytes": disk(peer.folder), "versions": versions(type(peer))})


def versions(kind: type[Peer]) -> dict[str, str]:
    found = {}
    for name in kind.distributions:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "from the source tree"
    return found


def asked(
    peer: Peer, data: Data, effort: Effort, below: float | None, truth: Any, patience: float, rounds: int = 1
) -> dict[str, Any]:
    """Latency over all queries, some rounds of them; the first answers are checked and give the recall."""
    queries, found = data.queries(), []
    first: list[float] = []
    times: list[float] = []
    end = time.perf_counter() + patience
    for turn in range(rounds + 1):  # the first is for warmth and recall
        for q in queries:
            start = time.perf_counter()
            answer = peer.search(q, 10, effort, below)
            taken = time.perf_counter() - start
            if turn == 0:
                found.append(numbers(answer))
                for one in answer:
                    record = row(int(one[0][5:]))
                    if tuple(one) != record.shown[: len(one)] or (below is not None and record.age >= below):
                        raise AssertionError(f"answers with a record that was never stored, or does not pass: {one}")
            (times if turn else first).append(taken)
            if time.perf_counter() > end and len(found) >= 20:
                break
    out = spread(times if len(times) >= 20 else first + times)
    return {"effort": effort, "recall": overlap(found, truth[: len(found)]), **out}


def ask(peer: Peer, data: Data, _: Any) -> None:
    """Open, the line over efforts, then the default and the cheapest that reaches each recall, with filters."""
    query = data.queries()[0]
    out: dict[str, Any] = {"open": timed(peer.open)}
    memory = Memory(peer)
    out["first"] = timed(lambda: peer.search(query, 10, {}, None))
    truth, line = data.truth(), []
    for effort in ({}, *peer.efforts):
        line.append(asked(peer, data, effort, None, truth, GLANCE))
        out["line"] = line
        say(out)
        if line[-1]["recall"] >= 0.9995 and len(line) > 1:
            break
    chosen: dict[str, Effort | None] = {"default": {}}
    for reach in REACH:
        enough = [one for one in line if one["recall"] >= reach]
        chosen[f"{reach:.2f}"] = min(enough, key=lambda one: one["p50"])["effort"] if enough else None
    done: list[dict[str, Any]] = []
    for name, effort in chosen.items():
        if effort is None:
            out[name] = {"missed": max(one["recall"] for one in line)}
            continue
        same = next((one for one in done if one["effort"] == effort), None)
        if same is None:
            same = asked(peer, data, effort, None, truth, PATIENCE, ROUNDS)
            out[name] = same
            done.append(same)
        out[name] = same
        say(out)
    shares = FILTERS if peer.filtering != "none" else {}
    by_default, tuned = {}, {}
    out["filters"] = {"default": by_default, f"{REACH[0]:.2f}": tuned}
    for share in shares:
        by_default[share] = filtered(peer, data, share, {}, tune=False)
        say(out)
    effort = chosen[f"{REACH[0]:.2f}"]
    for share in shares if effort is not None else {}:
        enough = effort == {} and by_default[share]["recall"] >= REACH[0]
        tuned[share] = by_default[share] if enough else filtered(peer, data, share, effort, tune=True)
        say(out)
    out["peak"] = memory.peak()
    say(out)
    peer.close()


def filtered(peer: Peer, data: Data, share: str, effort: Effort, tune: bool) -> dict[str, Any]:
    """The same under a filter; with `tune`, a filter that finds too little is given the next efforts until it reaches."""
    below, truth = FILTERS[share], data.truth(share)
    first = timed(lambda: peer.search(data.queries()[-1], 10, effort, below))
    efforts = list(peer.efforts)
    more = efforts[efforts.index(effort) + 1 :] if effort in efforts else efforts
    if tune:
        best = asked(peer, data, effort, below, truth, TRY)
        for one in more:
            if best["recall"] >= REACH[0]:
                break
            best = max(best, asked(peer, data, one, below, truth, TRY), key=lambda found: found["recall"])
        effort = best["effort"]
    return {"first": first, **asked(peer, data, effort, below, truth, PATIENCE, ROUNDS)}


def variant(peer: Peer, data: Data, _: Any) -> None:
    """Another build: how long, and its line."""
    out: dict[str, Any] = {"seconds": timed(lambda: peer.build(data)), "bytes": disk(peer.folder), "line": []}
    peer.open()
    for effort in ({}, *peer.efforts):
        out["line"].append(asked(peer, data, effort, None, data.truth(), GLANCE))
        say(out)
        if out["line"][-1]["recall"] >= 0.9995:
            break
    peer.close()


def answering(peer: Peer, data: Data, arguments: dict[str, Any]) -> None:
    """Ask for some seconds, in `threads` threads, once the runner says go."""
    peer.open()
    queries, effort = data.queries(), arguments["effort"]
    for q in queries[:50]:
        peer.search(q, 10, effort, None)
    print("ready", flush=True)
    sys.stdin.readline()
    end = time.perf_counter() + arguments["seconds"]
    counts = [0] * arguments["threads"]

    def work(mine: int) -> None:
        n = mine
        while time.perf_counter() < end:
            peer.search(queries[n % len(queries)], 10, effort, None)
            counts[mine] += 1
            n += 7

    start = time.perf_counter()
    workers = [threading.Thread(target=work, args=(i,)) for i in range(len(counts))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    say({"each second": sum(counts) / (time.perf_counter() - start)})
    peer.close()


def change(peer: Peer, data: Data, arguments: dict[str, Any]) -> None:
    """Add 1,000 cases and remove a patient, some times; both are looked for at once."""
    peer.open()
    rng = np.random.default_rng(3)
    effort = arguments["effort"]
    adds, removes, nexts = [], [], []
    out: dict[str, Any] = {"found": 0, "gone": 0, "turns": 0}
    for turn in range(arguments["turns"]):
        rows, x = data.new(turn * 1000, 1000)
        try:
            adds.append(timed(lambda rows=rows, x=x: peer.add(rows, x)))
            start = time.perf_counter()
            hits = peer.search(x[5], 10, effort, None)
            nexts.append(time.perf_counter() - start)
            out |= {"add": float(np.median(adds)), "next": float(np.median(nexts)), "turns": turn + 1}
            out["found"] += int(rows[5].number in numbers(hits) and len(peer.has([r.number for r in rows])) == 1000)
        except CannotError as error:
            out["no add"] = str(error)
        first = int(rng.integers(data.count // 6)) * 3  # of the first half: `look` looks at the other
        gone, patient = list(range(first, first + 3)), row(first).patient
        try:
            removes.append(timed(lambda patient=patient, gone=gone: peer.remove_patient(patient, gone)))
            start = data.chunks(3)
            vector = next(x for n, x in start if n == first)
            hits = peer.search(vector[0], 10, effort, None)
            out |= {"remove": float(np.median(removes))}
            out["gone"] += int(not peer.has(gone) and not set(gone) & set(numbers(hits)))
        except CannotError as error:
            out["no remove"] = str(error)
        say(out)
    out["bytes"] = disk(peer.folder)
    say(out)
    peer.close()


def once(peer: Peer, data: Data, arguments: dict[str, Any]) -> None:
    """Add 1,000 cases once, between two marks that a trace shows."""
    peer.open()
    rows, x = data.new(arguments["start"], 1000)
    os.path.exists(BEGIN)
    try:
        peer.add(rows, x)
    except CannotError as error:
        say({"cannot": str(error)})
        return
    os.path.exists(END)
    say({"added": 1000})
    peer.close()


def adding(peer: Peer, data: Data, arguments: dict[str, Any]) -> None:
    """Add batches until killed, saying each that was acknowledged."""
    start, size = arguments["start"], arguments["size"]
    made = [data.new(start + i * size, size) for i in range(arguments["batches"])]
    peer.open()
    print("pids", *(p for pid in peer.servers() for p in family(pid)), flush=True)
    try:
        for number, (rows, x) in enumerate(made):
            peer.add(rows, x)
            print("ack", number + 1, flush=True)
    except CannotError as error:
        say({"cannot": str(error)})
    print("end", flush=True)


def look(peer: Peer, data: Data, arguments: dict[str, Any]) -> None:
    """After a kill: what is there of the acknowledged batches, of the one that was not, and of the cases before."""
    peer.open()
    size, acks, start = arguments["size"], arguments["acks"], NEW + arguments["start"]
    wanted = range(start, start + size * acks)
    there = peer.has(wanted)
    under = peer.has(range(start + size * acks, start + size * (acks + 1)))
    old = np.random.default_rng(4).integers(data.count // 2 + 3, data.count, size=300).tolist()
    kept = peer.has(old)
    effort, queries = arguments["effort"], data.queries()[:50]
    found = [numbers(peer.search(q, 10, effort, None)) for q in queries]
    # Cases that were added lie near others, so they may push true neighbours out: these are left out of the truth's way.
    exact = [[n for n in one if n < NEW] for one in found]
    share = [
        len(set(f) & set(map(int, t[: len(f)]))) / max(1, len(f)) for f, t in zip(exact, data.truth(), strict=False)
    ]
    say({"lost": len(wanted) - len(there), "of": len(wanted), "under way": len(under), "old lost": len(set(old)) - len(kept),
         "recall": float(np.mean(share))})  # fmt: skip
    peer.close()


STEPS: dict[str, Callable[[Peer, Data, Any], None]] = {
    "build": build, "ask": ask, "variant": variant, "answering": answering, "change": change, "once": once,
    "adding": adding, "look": look,
}  # fmt: skip


def main() -> None:
    name, peer, data, folder, given = sys.argv[1:]
    arguments = json.loads(given)
    os.sched_setaffinity(0, arguments["cores"])
    for module in peers()[peer].modules:
        importlib.import_module(module)
    made = peers()[peer](Path(folder), **arguments.get("variant", {}))
    made.reading = name == "answering"
    made.server_cores = arguments.get("server cores", arguments["cores"])
    STEPS[name](made, Data(Path(data)), arguments)
    sys.stdout.flush()
    os._exit(0)  # what was to be closed is closed; a library whose threads keep its process alive is not waited for


if __name__ == "__main__":
    main()
