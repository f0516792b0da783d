"""``make bench-index``: the index engine at scale, beside FAISS called directly, autofaiss and exact search.

Vectors are drawn in clusters, with the spectrum of real embeddings (those of an index that is given): one view a case,
three cases a patient, with a catalogue. Every step runs in a process of its own, so that its peak memory is its own.
"""

import argparse
import json
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from medclip.index import CaseIndex, Entry, Record, VectorView

D, CHUNK, SEED = 256, 20_000, 0
LOCATIONS, MODALITIES = ["Head", "Thorax", "Abdomen", "Spine", "Pelvis"], ["CT", "MR", "CR"]
FILTERS = {"50 %": "age < 50", "10 %": "age < 10", "1 %": "age < 1", "0.1 %": "ward < 1"}
WORDS = np.asarray([f"{a}{b}" for a in ("opac", "nodul", "effus", "mass", "fract") for b in range(400)])
FREQUENT = np.asarray([f"plain{n}" for n in range(30)])
SHARES = np.geomspace(0.6, 0.02, len(FREQUENT))  # of the texts in which each stands
QUERIES = {
    "short": "opac1 nodul2 mass3 effus4 fract5",
    # As a report that is asked with: 60 words, the frequent ones among them.
    "long": " ".join([*FREQUENT, *WORDS[::67]]),
    "frequent": " ".join(FREQUENT[8:12]),
}


def spectrum(index: Path) -> np.ndarray[Any, Any]:
    """The standard deviations of real embeddings along their principal axes, 256 of them."""
    opened = CaseIndex.open(index)
    vectors = np.stack([view.vector for entry in opened.entries() for view in entry.views])
    opened.close()
    values = np.linalg.svd(vectors - vectors.mean(0), compute_uv=False)[:D] / np.sqrt(len(vectors))
    return np.pad(values, (0, D - len(values)), constant_values=values[-1]).astype(np.float32)


def draw(file: Path, count: int, scales: np.ndarray[Any, Any]) -> None:
    """Write (count, D) unit vectors around count / 250 centres; the noise around them has 0.8 of their spread."""
    rng = np.random.default_rng(SEED)
    centres = rng.normal(size=(max(20, count // 250), D)).astype(np.float32) * scales
    with file.open("wb") as out:
        for start in range(0, count, CHUNK):
            n = min(CHUNK, count - start)
            own = centres[rng.integers(len(centres), size=n)]
            x = own + 0.8 * rng.normal(size=(n, D)).astype(np.float32) * scales
            out.write((x / np.linalg.norm(x, axis=1, keepdims=True)).astype("<f4").tobytes())


def chunks(file: Path, count: int) -> Iterator[np.ndarray[Any, Any]]:
    with file.open("rb") as handle:
        for start in range(0, count, CHUNK):
            yield np.fromfile(handle, "<f4", min(CHUNK, count - start) * D).reshape(-1, D)


def entry(number: int, vector: np.ndarray[Any, Any], text: str) -> Entry:
    label = {"location": LOCATIONS[number % 5]}
    facts = {
        "age": (float((number * 7919) % 100),),
        "ward": (float((number * 7919) % 1000),),
        "modality": (MODALITIES[number % 3],),
        "label.location": (label["location"],),
    }
    case_id = f"case-{number:07d}"
    record = Record(case_id, f"patient-{number // 3:07d}", label, {"id": case_id}, facts, text, case_id)
    return Entry(record, [VectorView("scan", 0, vector, label)], {})


def entries(file: Path, count: int) -> Iterator[Entry]:
    rng = np.random.default_rng(SEED)
    number = 0
    for chunk in chunks(file, count):
        texts = WORDS[rng.integers(len(WORDS), size=(len(chunk), 8))]
        plain = rng.random((len(chunk), len(FREQUENT))) < SHARES
        for vector, words, frequent in zip(chunk, texts, plain, strict=True):
            yield entry(number, vector, " ".join([*words, *FREQUENT[frequent]]))
            number += 1


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def timed(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def spread(times: list[float]) -> dict[str, float]:
    return {"p50": float(np.percentile(times, 50)), "p99": float(np.percentile(times, 99))}


# ---- steps, each in a process of its own


def ours_build(vectors: Path, count: int, out: Path) -> dict[str, Any]:
    base = peak()
    out.mkdir()
    seconds = timed(lambda: CaseIndex.create(out, entries(vectors, count), fingerprint="bench"))
    most = peak()  # before the index is opened, whose mapped files would count
    index = CaseIndex.open(out)
    stats = index.stats()
    index.close()
    one = {of: next(iter(stats[of].values())) for of in ("effort", "measured")}  # there is one kind of view
    return {"seconds": seconds, "peak": most, "start": base, "structure": stats["structure"], "bytes": stats["bytes"],
            "effort": one["effort"], "measured": one["measured"]}  # fmt: skip


def faiss_build(vectors: Path, count: int, out: Path, nlist: int) -> dict[str, Any]:
    import faiss

    x = np.fromfile(vectors, "<f4", count * D).reshape(count, D)
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(D), D, nlist, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed, index.cp.niter, index.cp.spherical = SEED, 10, True
    index.cp.max_points_per_centroid = 40
    seconds = timed(lambda: (index.train(x), index.add(x), faiss.write_index(index, str(out))))
    return {"seconds": seconds, "peak": peak()}


def autofaiss_build(vectors: Path, count: int, nlist: int) -> dict[str, Any]:
    from autofaiss import build_index

    x = np.fromfile(vectors, "<f4", count * D).reshape(count, D)
    began = time.perf_counter()
    index, report = build_index(
        x, save_on_disk=False, metric_type="ip", index_key=f"IVF{nlist},Flat",
        max_index_memory_usage="4G", current_memory_available="12G",
        max_index_query_time_ms=10, min_nearest_neighbors_to_retrieve=20, should_be_memory_mappable=True, verbose=40,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    queries, truth = exact_neighbours(vectors, count)
    _, found = index.search(queries, 10)
    times = [timed(lambda q=q: index.search(q[None], 10)) for q in queries]
    return {"seconds": seconds, "peak": peak(), "recall": overlap(found, truth), "key": report["index_key"],
            "parameters": report["index_param"], **spread(times)}  # fmt: skip


def exact_neighbours(vectors: Path, count: int, wanted: int = 200) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Queries that are near archived vectors without being any, and their true neighbours."""
    import faiss

    rng = np.random.default_rng(SEED + 1)
    x = np.fromfile(vectors, "<f4", count * D).reshape(count, D)
    own = x[rng.choice(count, wanted, replace=False)]
    noise = rng.normal(size=own.shape).astype(np.float32) * own.std(0)
    queries = own + 0.3 * noise
    queries = np.ascontiguousarray(queries / np.linalg.norm(queries, axis=1, keepdims=True))
    _, truth = faiss.knn(queries, x, 10, metric=faiss.METRIC_INNER_PRODUCT)
    return queries, truth


def overlap(found: Any, truth: Any) -> float:
    return float(np.mean([len(set(f) & set(t)) / len(t) for f, t in zip(found, truth, strict=True) if len(t)]))


def faiss_alone(file: Path, effort: dict[str, int], x: np.ndarray[Any, Any]) -> tuple[Any, ...]:
    """The same lists and codes as a user of FAISS would have them: turned, searched and compared again by FAISS itself.

    With it what it points to, which must live as long.
    """
    import faiss

    lists = faiss.read_index(str(file))
    lists.nprobe = effort["nprobe at selectivity 1"]
    turn = np.load(file.with_name("turn.npy"))
    turning = faiss.LinearTransform(D, len(turn), False)
    faiss.copy_array_to_vector(turn.ravel(), turning.A)
    turning.is_trained = True
    turned = faiss.IndexPreTransform(turning, lists)
    index = faiss.IndexRefineFlat(turned, faiss.swig_ptr(x))
    index.k_factor = (effort["compared again"] + 40) / 10
    return index, turned, turning, lists


def queries_step(vectors: Path, count: int, folder: Path) -> dict[str, Any]:
    """Warm latencies, ours and FAISS's on the same file with the same number of probes, alternating."""
    import faiss

    queries, truth = exact_neighbours(vectors, count)
    opening = timed(lambda: CaseIndex.open(folder).close())
    index = CaseIndex.open(folder)
    stats = index.stats()
    out: dict[str, Any] = {"open": opening}
    x = np.fromfile(vectors, "<f4", count * D).reshape(count, D)
    raw, *_kept = faiss_alone(next(folder.glob("segments/*/ivf-pq4.faiss")), stats["effort"]["scan"], x)

    def ours(q: np.ndarray[Any, Any], **more: Any) -> list[int]:
        return [int(hit.case_id[5:]) for hit in index.search(q[None], 10, **more)[0]]

    for q in queries:
        ours(q), raw.search(q[None], 10)
    mine, theirs, found, other = [], [], [], []
    for _ in range(3):
        for q in queries:
            mine.append(timed(lambda q=q: index.search(q[None], 10)))
            theirs.append(timed(lambda q=q: raw.search(q[None], 10)))
    for q in queries:
        found.append(ours(q))
        other.append(raw.search(q[None], 10)[1][0].tolist())
    out["ours"] = {**spread(mine), "recall": overlap(found, truth)}
    out["faiss"] = {**spread(theirs), "recall": overlap(other, truth)}
    for together in (1, 32):
        groups = [queries[start : start + together] for start in range(0, len(queries) - together + 1, together)]
        spent = [timed(lambda g=groups: [index.search(one, 10) for one in g]) for _ in range(5)]
        out[f"{together} at once"] = len(groups) * together / float(np.median(spent))
    flat = faiss.IndexFlatIP(D)
    flat.add(x)
    out["exact"] = spread([timed(lambda q=q: flat.search(q[None], 10)) for q in queries[:60]])
    values = {name: (np.arange(count) * 7919) % modulus for name, modulus in (("age", 100), ("ward", 1000))}
    for name, text in FILTERS.items():
        where = index.filter(text)
        first = timed(lambda where=where: index.search(queries[:1], 10, where=where))
        field, _, limit = text.split()
        allowed = np.flatnonzero(values[field] < float(limit))
        _, near = faiss.knn(queries, np.ascontiguousarray(x[allowed]), 10, metric=faiss.METRIC_INNER_PRODUCT)
        times = [timed(lambda q=q, w=where: index.search(q[None], 10, where=w)) for q in queries]
        got = [ours(q, where=where) for q in queries]
        out[f"filter {name}"] = {**spread(times), "first": first, "recall": overlap(got, allowed[near])}
    some = index.filter(FILTERS["1 %"])
    for name, text in QUERIES.items():
        for what, where in (("", None), (" 1 %", some)):
            times = [
                timed(lambda q=q, t=text, w=where: index.search(q[None], 10, words=[t], where=w)) for q in queries[:51]
            ]
            out[f"hybrid {name}{what}"] = spread(times[1:])
    index.close()
    return out


def changes_step(vectors: Path, count: int, folder: Path) -> dict[str, Any]:
    """Add 1,000 cases, remove a patient, several times; each is searched for at once."""
    rng = np.random.default_rng(7)
    index = CaseIndex.open(folder)
    adds, removes, finds = [], [], []
    base = next(chunks(vectors, count))
    for turn in range(5):
        x = base[rng.choice(len(base), 1000)] + 0.05 * rng.normal(size=(1000, D)).astype(np.float32)
        x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
        new = [entry(2_000_000 + turn * 1000 + i, x[i], "opac1 mass2") for i in range(1000)]
        adds.append(timed(lambda new=new: index.add(new)))
        finds.append(timed(lambda x=x: index.search(x[:1], 10)))
        assert index.search(x[5:6], 1)[0][0].case_id == new[5].record.id
        patient = f"patient-{int(rng.integers(count // 3)):07d}"
        removes.append(timed(lambda p=patient: index.remove(index.cases_of_patient(p))))
        assert index.cases_of_patient(patient) == []
    warm = [timed(lambda q=q: index.search(q[None], 10)) for q in base[rng.choice(len(base), 200)]]
    index.close()
    return {"add": float(np.median(adds)), "remove": float(np.median(removes)), "next query": float(np.median(finds)),
            **spread(warm)}  # fmt: skip


def _reader(folder: Path, seconds: float, seed: int, results: Any) -> None:
    """Search, and hold every answer against what its own snapshot says."""
    rng = np.random.default_rng(seed)
    index = CaseIndex.open(folder)
    times, wrong, at_first = [], 0, len(index)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        q = rng.normal(size=(1, D)).astype(np.float32)
        q /= np.linalg.norm(q)
        times.append(timed(lambda q=q: index.search(q, 10)))
        if len(times) % 20 == 0:
            with index.snapshot():
                hits = index.search(q, 10)[0]
                cases = len(index)
                # The writer adds and removes ten at a time, so a state between would have another remainder.
                wrong += (
                    len(hits) != 10
                    or (cases - at_first) % 10 != 0
                    or any(index.record(h.case_id).id != h.case_id for h in hits)
                )
        time.sleep(0.02)
    index.close()
    results.put({"times": times, "wrong": wrong})


def together_step(folder: Path, seconds: float, readers: int, writing: bool) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    results: Any = context.Queue()
    workers = [context.Process(target=_reader, args=(folder, seconds, i, results)) for i in range(readers)]
    for worker in workers:
        worker.start()
    changes = 0
    if writing:
        index, rng, number = CaseIndex.open(folder), np.random.default_rng(1), 5_000_000
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            x = rng.normal(size=(10, D)).astype(np.float32)
            x /= np.linalg.norm(x, axis=1, keepdims=True)
            new = [entry(number + i, x[i], "mass1") for i in range(10)]
            index.add(new)
            if changes % 2:
                index.remove([one.record.id for one in new])
            number, changes = number + 10, changes + 1
            time.sleep(0.1)
        index.close()
    found = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    times = [t for one in found for t in one["times"]]
    return {**spread(times), "queries": len(times), "wrong": sum(one["wrong"] for one in found), "changes": changes,
            "failed": sum(worker.exitcode != 0 for worker in workers)}  # fmt: skip


STEPS: dict[str, Callable[..., dict[str, Any]]] = {
    "ours": ours_build, "faiss": faiss_build, "autofaiss": autofaiss_build, "queries": queries_step,
    "changes": changes_step, "together": together_step,
}  # fmt: skip


def step(name: str, *arguments: Any) -> dict[str, Any]:
    """Run one step in a fresh process."""
    given = json.dumps([str(a) if isinstance(a, Path) else a for a in arguments])
    done = subprocess.run(
        [sys.executable, __file__, "--step", name, given], check=False, stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise SystemExit(f"step {name} failed")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"# {name} {given}: {json.dumps(found)}", file=sys.stderr, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--like", type=Path, default=Path("demo/index"), help="an index of real embeddings")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "medclip-bench-index")
    parser.add_argument("--minutes", type=float, default=2, help="how long readers and a writer run together")
    parser.add_argument("--growth", type=Path, default=None, help="plot the growth into this PNG")
    parser.add_argument("--step", nargs=2)
    options = parser.parse_args()
    if options.step:
        name, given = options.step
        arguments = [Path(a) if isinstance(a, str) else a for a in json.loads(given)]
        print(json.dumps(STEPS[name](*arguments)))
        return
    work, count = options.work, options.cases
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    vectors = work / "vectors.f32"
    draw(vectors, count, spectrum(options.like))
    ours = step("ours", vectors, count, work / "index")
    nlist = int(4 * count**0.5)  # what lists of whole vectors take to reach the recall as quickly
    direct = step("faiss", vectors, count, work / "direct.faiss", nlist)
    try:
        auto: dict[str, Any] | None = step("autofaiss", vectors, count, nlist)
    except SystemExit:
        auto = None
    asked = step("queries", vectors, count, work / "index")
    rows = report_rows(ours, direct, auto, asked, count)
    growth = []
    for size in (10_000, 30_000, 100_000, 300_000, count):
        if size > count:
            continue
        folder = work / "index" if size == count else work / f"index-{size}"
        built = ours if size == count else step("ours", vectors, size, folder)
        growth.append({"cases": size, "build": built["seconds"], **step("changes", vectors, size, folder)})
    last = growth[-1]
    rows += [
        ("add 1,000 cases", f"{last['add']:.2f} s, found at the next query ({last['next query'] * 1e3:.0f} ms)"),
        ("remove one patient", f"{last['remove']:.2f} s"),
    ]
    crowd = work / ("index-100000" if count > 100_000 else "index")
    alone = step("together", crowd, options.minutes * 15, 8, False)
    busy = step("together", crowd, options.minutes * 60, 8, True)
    rows.append(
        ("8 readers and a writer, p99", f"{busy['p99'] * 1e3:.1f} ms, {busy['p99'] / alone['p99']:.2f} x without the writer; "
         f"{busy['queries']} queries, {busy['changes']} changes, {busy['wrong']} wrong, {busy['failed']} failed")
    )  # fmt: skip
    print(f"\n{count:,} cases x {D}, {os.cpu_count()} cores")
    for what, value in rows:
        print(f"| {what} | {value} |")
    for one in growth:
        print(f"| {one['cases']:,} cases | build {one['build']:.1f} s, add {one['add']:.2f} s, remove {one['remove']:.3f} s, "
              f"query {one['p50'] * 1e3:.2f} ms |")  # fmt: skip
    if options.growth:
        plot(growth, options.growth)
    shutil.rmtree(work)


def report_rows(
    ours: dict[str, Any], direct: dict[str, Any], auto: dict[str, Any] | None, asked: dict[str, Any], count: int
) -> list[tuple[str, str]]:
    size = count * D * 4
    mine, theirs, exact = asked["ours"], asked["faiss"], asked["exact"]
    rows = [
        ("structure", f"{ours['structure']}, {ours['effort']}"),
        ("warm query", f"{mine['p50'] * 1e3:.2f} ms (p99 {mine['p99'] * 1e3:.2f}), recall@10 {mine['recall']:.3f}"),
        ("the same FAISS structure directly", f"{theirs['p50'] * 1e3:.2f} ms (p99 {theirs['p99'] * 1e3:.2f}), recall@10 "
         f"{theirs['recall']:.3f}; ours {mine['p50'] / theirs['p50']:.2f} x, p99 {mine['p99'] / theirs['p99']:.2f} x"),
        ("the planner stated", f"{ours['measured']['latency'] * 1e3:.2f} ms, recall@10 {ours['measured']['recall']:.3f}"),
        ("32 queries at once", f"{asked['32 at once']:.0f} a second, {asked['32 at once'] / asked['1 at once']:.1f} x one at "
         "a time"),
        ("exact search", f"{exact['p50'] * 1e3:.1f} ms; ours 1/{exact['p50'] / mine['p50']:.0f}"),
    ]  # fmt: skip
    for name in FILTERS:
        one = asked[f"filter {name}"]
        rows.append((f"filter that {name} pass", f"{one['p50'] * 1e3:.2f} ms ({one['p50'] / mine['p50']:.2f} x the unfiltered), "
                     f"recall@10 {one['recall']:.3f}, the first time {one['first'] * 1e3:.0f} ms"))  # fmt: skip
    for name, text in QUERIES.items():
        one, few = (asked[f"hybrid {name}{what}"]["p50"] * 1e3 for what in ("", " 1 %"))
        rows.append(
            (f"with {len(text.split())} words ({name})", f"{one:.1f} ms, under the filter that 1 % pass {few:.1f} ms")
        )
    rows += [
        ("build", f"{ours['seconds']:.0f} s, {ours['seconds'] / direct['seconds']:.2f} x FAISS train + add + write "
         f"({direct['seconds']:.0f} s); peak memory {ours['peak'] / size:.2f} x the vectors"),
        ("autofaiss", "not installed (pip install autofaiss)" if auto is None else
         f"{auto['seconds']:.0f} s, {auto['key']} {auto['parameters']}, recall@10 {auto['recall']:.3f}, "
         f"{auto['p50'] * 1e3:.2f} ms, peak {auto['peak'] / size:.2f} x"),
        ("open", f"{asked['open']:.3f} s"),
    ]  # fmt: skip
    return rows


def plot(growth: list[dict[str, Any]], file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    sizes = [one["cases"] for one in growth]
    names = {"add": "add 1,000 cases", "remove": "remove a patient", "p50": "query (median)", "build": "build"}
    for key, name in names.items():
        axes.loglog(sizes, [one[key] for one in growth], marker="o", label=name)
    axes.set(xlabel="cases in the index", ylabel="seconds")
    axes.grid(alpha=0.3)
    axes.legend(loc="center right", bbox_to_anchor=(1, 0.55))
    figure.tight_layout()
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    main()
