"""`make fuzz`: damaged scans. Every mutation of a real file must read, or fail with one `ScanError`.

Each worker is a process of its own with a memory limit, so that a crash in a decoder, a hang or a bomb is seen and
counted, and the seed of the file that caused it is printed.
"""

import argparse
import multiprocessing
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

SECONDS, MEMORY = 5, 2 << 30


def seeds(scratch: Path) -> list[Path]:
    """Real DICOM files from pydicom and pydicom-data, and NIfTI volumes written here."""
    import data_store
    import nibabel
    import pydicom

    roots = (Path(pydicom.__file__).parent / "data" / "test_files", Path(data_store.__file__).parent / "data")
    files = [f for root in roots for f in sorted(root.rglob("*.dcm")) if f.stat().st_size < 600_000]
    volume = np.random.default_rng(0).normal(100, 40, (48, 40, 20)).astype(np.int16)
    for name in ("a.nii", "b.nii.gz"):
        nibabel.save(nibabel.Nifti1Image(volume, np.diag([1, 1, 3, 1])), scratch / name)
        files.append(scratch / name)
    return files


def mutate(content: bytes, rng: random.Random) -> bytes:
    """Truncate, flip bits, overwrite a run, or splice out a part."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        kind = rng.randrange(5)
        at = rng.randrange(len(data)) if rng.random() < 0.4 else rng.randrange(min(len(data), 2000))
        if kind == 0 and len(data) > 200:
            del data[rng.randrange(100, len(data)) :]
        elif kind in (1, 2):
            data[at % len(data)] ^= 1 << rng.randrange(8)
        elif kind == 3:
            run = bytes(rng.choice((0, 255, rng.randrange(256))) for _ in range(rng.choice((1, 2, 4, 16))))
            data[at % len(data) : at % len(data) + len(run)] = run
        else:
            del data[at % len(data) : at % len(data) + rng.randrange(1, 64)]
        if not data:
            data = bytearray(b"\0")
    return bytes(data)


def worker(jobs: "multiprocessing.connection.Connection", scratch: str) -> None:
    """Read what is sent and send back how it went."""
    from medclip.errors import ScanError
    from medclip.modalities.scan.read import read_scan

    while True:
        name, content = jobs.recv()
        file = Path(scratch) / name
        file.write_bytes(content)
        started = time.perf_counter()
        try:
            read_scan(file)
            verdict = "read"
        except ScanError as error:
            verdict = "refused" if "\n" not in str(error) else "error of several lines"
        except BaseException as error:  # noqa: BLE001 (that is what is being looked for)
            verdict = f"uncaught {type(error).__name__}: {error}"
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        jobs.send((verdict, time.perf_counter() - started, peak))


def start(scratch: str) -> tuple[multiprocessing.Process, "multiprocessing.connection.Connection"]:
    """A fresh worker."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=worker, args=(theirs, scratch), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def main() -> int:
    """Run, print the counts, and return 1 where anything but a reading or a one-line refusal was seen."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--mutations", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    counts: Counter[str] = Counter()
    failures: list[str] = []
    slowest = most = 0.0
    with tempfile.TemporaryDirectory() as scratch:
        files = seeds(Path(scratch))
        process, jobs = start(scratch)
        for number in range(options.mutations):
            rng = random.Random(f"{options.seed}:{number}")
            file = files[number % len(files)]
            jobs.send((f"x{file.name}", mutate(file.read_bytes(), rng)))
            try:
                if not jobs.poll(SECONDS + 10):  # the first file of a worker also pays for its imports
                    raise TimeoutError
                verdict, seconds, peak = jobs.recv()
                slowest, most = max(slowest, seconds), max(most, peak)
                if seconds > SECONDS:
                    verdict = "slow"
                if peak > MEMORY:
                    verdict = "memory"
            except (EOFError, TimeoutError, ConnectionResetError) as error:
                verdict = "crash" if isinstance(error, (EOFError, ConnectionResetError)) else "hang"
                process.kill()
            if verdict not in ("read", "refused"):
                failures.append(f"{verdict}: mutation {number} of {file.name}")
                process.kill()
                process, jobs = start(scratch)
                verdict = verdict.split(" ")[0]
            counts[verdict] += 1
        process.kill()
    print(f"{options.mutations} mutations of {len(files)} files: {dict(counts)}")
    print(f"slowest {slowest:.2f} s, peak memory {most / 2**20:.0f} MiB")
    print("\n".join(failures[:20]))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
