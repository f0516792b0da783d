"""`make bench-serve`: how soon ``medclip serve`` opens and answers, and what 20 people at once do to it.

A question is a scan and a text, uploaded anew each time; it is timed from the upload's first byte to the answer's last.
"""

import argparse
import http.client
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tests.server.browser.served import Served, serving

TEXT = "45 year old man with fever and cough"
BOUNDARY = "----medclip-bench"
FORM = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}


def _body(scan: Path) -> bytes:
    head = f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="history"\r\n\r\n{TEXT}\r\n--{BOUNDARY}\r\n'
    head += f'content-disposition: form-data; name="scans"; filename="{scan.name}"\r\n\r\n'
    return head.encode() + scan.read_bytes() + f"\r\n--{BOUNDARY}--\r\n".encode()


@dataclass
class Client:
    """One who asks, over one connection."""

    site: Served
    wire: http.client.HTTPConnection = field(init=False)

    def __post_init__(self) -> None:
        self.wire = http.client.HTTPConnection(urlsplit(self.site.address).netloc, timeout=120)

    def ask(self, method: str, path: str, body: bytes | None = None) -> http.client.HTTPResponse:
        """The answer, read whole."""
        headers = {"authorization": f"Bearer {self.site.token}", **(FORM if body else {})}
        self.wire.request(method, path, body, headers)
        answer = self.wire.getresponse()
        answer.read()
        return answer

    def question(self, body: bytes) -> tuple[int, float]:
        """(status, seconds) of a question and the page that answers it."""
        began = time.perf_counter()
        answer = self.ask("POST", "/questions", body)
        if answer.status == 303:
            answer = self.ask("GET", answer.headers["location"])
        return answer.status, time.perf_counter() - began


def _percentile(times: Sequence[float], share: float) -> float:
    return sorted(times)[min(len(times) - 1, int(share * len(times)))]


def _memory(process: int) -> float:
    """Resident MB of a process and its children."""
    total = 0.0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            told = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        except OSError:
            continue
        if str(process) in (told["Pid"].strip(), told["PPid"].strip()) and "VmRSS" in told:
            total += int(told["VmRSS"].split()[0]) / 1000
    return total


def opening(index: Path, times: int) -> None:
    """From the command to the first page."""
    taken = []
    for _ in range(times):
        with tempfile.TemporaryDirectory() as scratch:
            began = time.perf_counter()
            with serving(index, Path(scratch)) as site:
                assert Client(site).ask("GET", "/").status == 200
                taken.append(time.perf_counter() - began)
    print(f"from the command to the first page: {statistics.median(taken):.2f} s (median of {times})")


def alone(site: Served, body: bytes, times: int) -> None:
    """One person, one question after the other."""
    client = Client(site)
    for path, name in (("/questions", "question to page"), ("/api/v1/query", "question to JSON")):
        taken = []
        for number in range(times + 5):
            began = time.perf_counter()
            status = client.question(body)[0] if path == "/questions" else client.ask("POST", path, body).status
            assert status == 200, status
            if number >= 5:  # the first ones load what is loaded at need
                taken.append(time.perf_counter() - began)
        print(f"{name}: p50 {statistics.median(taken) * 1000:.0f} ms, p95 {_percentile(taken, 0.95) * 1000:.0f} ms")


def inside(index: Path, scan: Path, times: int, threads: int | None) -> None:
    """What of it is reading and embedding, and what is search and answer, without a server."""
    from medclip.assistant.assistant import Assistant

    assistant = Assistant.open(index, threads=threads)
    asking, answering = [], []
    for number in range(times + 5):
        began = time.perf_counter()
        question = assistant.ask([scan], [TEXT])
        asked = time.perf_counter()
        assistant.answer(question)
        if number >= 5:
            asking.append(asked - began)
            answering.append(time.perf_counter() - asked)
    print(f"of which reading and embedding {statistics.median(asking) * 1000:.0f} ms, "
          f"search and labels {statistics.median(answering) * 1000:.0f} ms")  # fmt: skip


def crowd(site: Served, body: bytes, people: int, seconds: float) -> None:
    """Many people, each asking again as soon as the last answer has come."""
    statuses: Counter[int] = Counter()
    taken: list[float] = []
    late, until = [], time.monotonic() + seconds

    def asks() -> None:
        client = Client(site)
        while time.monotonic() < until:
            status, time_taken = client.question(body)
            statuses[status] += 1
            taken.append(time_taken)

    threads = [threading.Thread(target=asks) for _ in range(people)]
    for one in threads:
        one.start()
    while time.monotonic() < until:
        time.sleep(min(5.0, max(0.0, until - time.monotonic())))
        late.append(_memory(site.process))
    for one in threads:
        one.join()
    print(f"{people} people at once for {seconds:g} s: {len(taken)} questions, statuses {dict(statuses)}, "
          f"p50 {statistics.median(taken):.2f} s, p95 {_percentile(taken, 0.95):.2f} s; memory "
          f"{late[len(late) // 4]:.0f} MB after a quarter, {late[-1]:.0f} MB at the end")  # fmt: skip


def flood(site: Served, body: bytes, people: int) -> None:
    """More than may wait, all in the same moment."""
    found: list[tuple[int, str | None]] = []
    gate = threading.Barrier(people)

    def asks() -> None:
        client = Client(site)
        gate.wait()
        answer = client.ask("POST", "/api/v1/query", body)
        found.append((answer.status, answer.headers["retry-after"]))

    threads = [threading.Thread(target=asks) for _ in range(people)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    print(
        f"{people} in the same moment: {json.dumps(Counter(f'{status}, Retry-After {wait}' for status, wait in found))}"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("index", type=Path)
    parser.add_argument("scan", type=Path)
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=120)
    given = parser.parse_args()
    load = os.getloadavg()[0]
    print(f"{len(os.sched_getaffinity(0))} cores; load of the machine {load:.1f} before the first question")
    if load > 0.5:
        print("(other programs compute beside it: the times are longer than on a quiet machine)", file=sys.stderr)
    opening(given.index, 5)
    body = _body(given.scan)
    with tempfile.TemporaryDirectory() as scratch, serving(given.index, Path(scratch)) as site:
        alone(site, body, given.times)
        inside(given.index, given.scan, given.times, None)
        crowd(site, body, given.people, given.seconds)
        flood(site, body, 5 * given.people)
    print(f"load at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
