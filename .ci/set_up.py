"""Makes a virtual environment from requirements.lock and says how far it is: ``python3 .ci/set_up.py .venv``.

Standard library only, and it must start under an old Python to say that it is too old. pip says nothing while it fetches
one large file or puts packages in place, so what is done is read from the disk: the files fetched so far, and the
packages that stand whole in the environment.
"""

from __future__ import annotations

import json
import os
import platform
import queue
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

LOCK = "requirements.lock"
OLDEST = (3, 11)

# Of the whole lock on Linux, x86_64, as measured there. A set-up that fetches another amount says so at its end.
DOWNLOAD = 3.9e9  # bytes
DISK = 7.6e9  # bytes of the environment
INSTALL = 90.0  # seconds that pip needs to put the packages in place, on two cores
USUAL = 30e6  # bytes a second, of which the time of the download is guessed before any of it is measured

EVERY = 15.0  # seconds between two lines where the output is no terminal
SMALL = 1.5e6  # bytes of a large package that take as long as the fixed work on any package

_NOISE = re.compile(
    r"WARNING: Location .* is ignored"  # a local folder of packages in pip's configuration, which lacks some
    r"|\[notice\]|WARNING: You are using pip version|WARNING: There was an error checking the latest version"
    r"|WARNING: Running pip as the 'root' user"
)
_WARNING = re.compile(r"\s*(WARNING|DEPRECATION)\b")
_SIZED = re.compile(r"\s*(?:Downloading|Using cached) (\S+) \(([\d.]+) ([kMG]?)B\)")
_LOCAL = re.compile(r"Processing (.+?\.(?:whl|tar\.gz|zip))(?: \(from .*\))?$")
_UNITS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}

# Runs in the environment, whose own pip knows which lines of the lock are for this machine.
_MISSING = """
import json, re, sys
from importlib.metadata import distributions
from pip._vendor.packaging.requirements import Requirement
plain = lambda name: re.sub(r"[-_.]+", "-", name).lower()
have = {plain(d.metadata["Name"]): d.version for d in distributions()}
wanted = [Requirement(line) for line in open(sys.argv[1], encoding="utf-8") if re.match(r"\\w", line)]
here = [r for r in wanted if r.marker is None or r.marker.evaluate()]
missing = [r for r in here if plain(r.name) not in have or not r.specifier.contains(have[plain(r.name)], True)]
print(json.dumps({"all": len(here), "missing": [plain(r.name) for r in missing]}))
"""


def is_noise(line: str) -> bool:
    """Whether a line of pip's says nothing that a user could act on."""
    return _NOISE.search(line) is not None


def clock(seconds: float) -> str:
    """Time that has passed: 3:07."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def about(seconds: float) -> str:
    """An estimate, no more exact than it is."""
    if seconds < 10:
        return "a few seconds"
    if seconds < 90:
        return f"about {round(seconds / 10) * 10} s"
    return f"about {round(seconds / 60)} min"


def plain(name: str) -> str:
    """The name of a package as the lock writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


class Work:
    """What pip has done so far."""

    def __init__(self, packages: int, total: float | None, fetched: Path, site: Path) -> None:
        """Nothing done yet.

        Args:
            packages: how many are to be installed.
            total: bytes that they take to download, where that is known.
            fetched: the folder that pip downloads into.
            site: the environment's site-packages.
        """
        self.packages, self.total = packages, total
        self.order: list[str] = []  # of the installation, once it has begun
        self.bytes = 0.0
        self._fetched, self._site = fetched, site
        self._sizes: dict[str, float] = {}  # package → bytes
        self._local = 0.0
        self._began = time.monotonic()
        self._placing = 0.0

    def hear(self, line: str) -> None:
        """Take in a line of pip's."""
        if sized := _SIZED.match(line):
            name, number, unit = sized.groups()
            if not name.endswith(".metadata"):
                self._sizes[plain(name.split("-")[0])] = float(number) * _UNITS[unit]
        elif local := _LOCAL.match(line):
            file = Path(local[1])
            size = file.stat().st_size if file.is_file() else 0
            self._sizes[plain(file.name.split("-")[0])] = size
            self._local += size
        elif line.startswith("Installing collected packages: "):
            self.look()
            self.order = [plain(name) for name in line.split(": ", 1)[1].split(", ")]
            self._placing = time.monotonic()

    def look(self) -> None:
        """See how much has been fetched."""
        if self.order:
            return
        kinds = (".whl", ".tar.gz", ".zip")
        found = 0
        for folder, _, names in os.walk(self._fetched):
            for name in names:
                if name.endswith(kinds):
                    try:
                        found += os.stat(os.path.join(folder, name)).st_size
                    except OSError:
                        continue  # pip has just taken it away
        self.bytes = found + self._local

    def _placed(self) -> set[str]:
        """The packages that stand whole in the environment: pip writes INSTALLER last but one."""
        return {plain(file.parent.name.split("-")[0]) for file in self._site.glob("*.dist-info/INSTALLER")}

    def left(self, now: float) -> float | None:
        """Seconds that are left, from what has been measured so far; None where nothing tells."""
        if self.order:
            weights = {name: self._sizes.get(name, 0.0) + SMALL for name in self.order}
            done = sum(weights[name] for name in self._placed() & set(weights))
            spent, total = now - self._placing, sum(weights.values())
            if done < total / 20:  # too little to measure by
                return max(INSTALL * total / DOWNLOAD - spent, 1.0)
            return spent * (total - done) / done
        if self.total is None:
            return None
        spent = now - self._began
        rate = self.bytes / spent if spent > 5 and self.bytes > 20e6 else USUAL
        return max(self.total - self.bytes, 0) / rate + INSTALL * self.total / DOWNLOAD

    def line(self, now: float) -> str:
        """What is done and what is left, in one line."""
        if self.order:
            placed = self._placed()
            next_one = next((name for name in self.order if name not in placed), self.order[-1])
            done = sum(name in placed for name in self.order)
            said = f"installing: {done} of {len(self.order)} packages in place, now {next_one}"
        elif not self._sizes:
            return "preparing"
        else:
            of = f" of about {self.total / 1e9:.1f}" if self.total else ""
            said = f"downloading: {len(self._sizes)} of {self.packages} packages, {self.bytes / 1e9:.2f}{of} GB"
        left = self.left(now)
        return said if left is None else f"{said}; {about(left)} left"


class Screen:
    """One line that changes on a terminal; elsewhere a line every so often."""

    def __init__(self, every: float = EVERY) -> None:
        self._live = sys.stdout.isatty()
        self._every = 1.0 if self._live else every
        self._began = self._last = time.monotonic()

    def say(self, line: str) -> None:
        """A line that stays."""
        print(("\r\x1b[K" if self._live else "") + line, flush=True)

    def show(self, work: Work) -> None:
        """How far the work is, if it is time to say so."""
        now = time.monotonic()
        if now - self._last < self._every:
            return
        self._last = now
        work.look()
        line = f"  {clock(now - self._began)}  {work.line(now)}"
        if self._live:
            print("\r\x1b[K" + line[: shutil.get_terminal_size().columns - 1], end="", flush=True)
        else:
            print(line, flush=True)

    def passed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began


def run_pip(command: list[str], work: Work, screen: Screen, log: Path) -> int:
    """Run pip, show how far it is, pass on what it warns of, and keep all that it says in the log.

    Returns:
        pip's exit code; if it failed, its last lines have been shown.
    """
    said: queue.Queue[str | None] = queue.Queue()
    quiet = {**os.environ, "TMPDIR": str(work._fetched), "PYTHONUNBUFFERED": "1", "PIP_NO_INPUT": "1"}
    quiet.pop("PIP_QUIET", None)  # its lines are what is read here
    pip = subprocess.Popen(
        command, env=quiet, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, encoding="utf-8", errors="replace",
    )  # fmt: skip

    def read() -> None:
        assert pip.stdout is not None
        for line in pip.stdout:
            said.put(line.rstrip())
        said.put(None)

    threading.Thread(target=read, daemon=True).start()
    kept: list[str] = []  # what has not been shown
    try:
        with log.open("a", encoding="utf-8") as file:
            while True:
                try:
                    line = said.get(timeout=0.5)
                except queue.Empty:
                    screen.show(work)
                    continue
                if line is None:
                    break
                file.write(f"{line}\n")
                work.hear(line)
                if _WARNING.match(line) and not is_noise(line):
                    screen.say(line)  # now: it may be why nothing moves
                elif not is_noise(line):
                    kept.append(line)
                screen.show(work)
        code = pip.wait()
    finally:
        pip.kill()
    for line in kept[-20:] if code else [line for line in kept if line.startswith("ERROR")]:
        screen.say(line)
    return code


def _complaint(venv: Path, packages: int, whole: bool) -> str | None:
    """Why the set-up cannot begin, as far as that is known beforehand."""
    free = shutil.disk_usage(venv.parent.resolve()).free
    if whole and free < DOWNLOAD + DISK:
        return (
            f"{packages} packages need about {(DOWNLOAD + DISK) / 1e9:.0f} GB here while they are installed, "
            f"{free / 1e9:.1f} GB are free"
        )
    return None


def _fail(line: str) -> int:
    print(f"set-up: {line}", file=sys.stderr)
    return 1


def set_up(venv: Path) -> int:
    """Make the environment, or bring it up to the lock."""
    screen = Screen()
    if not (venv / "bin" / "python").exists():
        made = subprocess.run([sys.executable, "-m", "venv", str(venv)], capture_output=True, text=True, check=False)
        if made.returncode:
            shutil.rmtree(venv, ignore_errors=True)
            print(made.stdout + made.stderr, end="", file=sys.stderr)
            return _fail(f"{sys.executable} cannot make {venv}; on Debian and Ubuntu: apt install python3-venv")
    python = str(venv / "bin" / "python")
    asked = subprocess.run([python, "-c", _MISSING, LOCK], capture_output=True, text=True, check=False)
    if asked.returncode:
        print(asked.stderr, end="", file=sys.stderr)
        return _fail(f"the Python in {venv} does not work; run  make clean  and try again")
    found = json.loads(asked.stdout)
    packages, missing = found["all"], found["missing"]
    known = sys.platform == "linux" and platform.machine() == "x86_64"
    whole = known and len(missing) > packages * 0.9
    if complaint := _complaint(venv, packages, whole):
        return _fail(complaint)
    if whole:
        screen.say(
            f"Setting up {venv}, once: {packages} packages, about {DOWNLOAD / 1e9:.1f} GB to download, "
            f"{DISK / 1e9:.1f} GB on disk; {about(INSTALL)} beside the download"
        )
    else:
        screen.say(f"Bringing {venv} up to {LOCK}: {len(missing)} of {packages} packages are not as it wants them")
    scratch, log = venv / "tmp", venv / "set-up.log"  # not /tmp, which may be small or in memory
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    log.unlink(missing_ok=True)
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off", "--no-color"]
    site = next((venv / "lib").glob("python3*/site-packages"))
    try:
        work = Work(len(missing), DOWNLOAD if whole else None, scratch, site)
        code = run_pip([*pip, "-r", LOCK], work, screen, log)
        if not code:
            ours = Work(1, None, scratch, site)
            code = run_pip([*pip, "--no-deps", "--no-build-isolation", "-e", "."], ours, screen, log)
    except KeyboardInterrupt:
        screen.say("")
        print("set-up: interrupted; run it again", file=sys.stderr)
        return 130
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if code:
        _fail(f"failed: pip ended with {code}; all that it said is in {log}")
        return code
    screen.say(f"Set up {venv} in {clock(screen.passed())}: {work.bytes / 1e9:.1f} GB downloaded")
    if whole and not 0.8 < work.bytes / DOWNLOAD < 1.25:
        screen.say(f"(announced were {DOWNLOAD / 1e9:.1f} GB: correct DOWNLOAD and DISK in .ci/set_up.py)")
    return 0


if __name__ == "__main__":
    if sys.version_info < OLDEST:
        is_old = (
            f"{sys.executable} is Python {platform.python_version()}; medclip needs {OLDEST[0]}.{OLDEST[1]} or newer"
        )
        sys.exit(_fail(is_old + ", such as  make PYTHON=python3.12"))
    sys.exit(set_up(Path(sys.argv[1])))
