"""The installed command, run as a user would, but forked from a process that has its modules loaded.

To load them anew takes a second or, to train, ten, hundreds of times in a run. What is run is the same: the script's own
``main`` with its arguments, in a process of its own. Tests of how the
command is started (`tests/cli/test_demo.py`, `tests/cli/test_odd_names.py`, the demo) start the script itself.
"""

import atexit
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

__all__ = ["SCRIPT", "Commands", "Ran"]

SCRIPT = Path(sys.executable).with_name("medclip")

_ANY = ["medclip.cli.app", "medclip.server.page_file", "medclip.assistant", "medclip.archive.build", "medclip.archive.moving",
        "medclip.archive.upkeep", "medclip.archive.verify", "medclip.bundle.verify", "medclip.embedding.embedder",
        "medclip.evaluation.held_out", "faiss", "sklearn.linear_model",
        "sklearn.feature_extraction.text"]  # fmt: skip
"""Not onnxruntime, which starts a thread when it is loaded and waits for it at its end: a fork has no such thread."""

_TRAINING = ["torch", "torch._dynamo", "torch.onnx._internal.exporter._core", "onnxscript", "open_clip", "timm",
             "transformers", "medclip.evaluation.crossval", "medclip.training.verify"]  # fmt: skip


@dataclass(frozen=True)
class Ran:
    """A finished command."""

    code: int
    out: str
    err: str


class _Forker:
    """A process that loads modules once, and forks for every command."""

    def __init__(self, modules: list[str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__, *modules], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def __call__(self, arguments: list[str], folder: str, out: str, err: str) -> int:
        asked, told = self._process.stdin, self._process.stdout
        assert asked is not None
        assert told is not None
        asked.write(json.dumps([arguments, folder, out, err]).encode() + b"\n")
        asked.flush()
        return int(told.readline())

    def close(self) -> None:
        self._process.communicate()


class Commands:
    """Runs commands, one at a time; what they need is loaded when the first of its kind is run."""

    def __init__(self) -> None:
        self._forkers: dict[bool, _Forker] = {}

    def __call__(self, *arguments: object, cwd: Path | None = None) -> Ran:
        """Run ``medclip`` with these arguments."""
        given = [str(argument) for argument in arguments]
        trains = given[:1] in (["train"], ["evaluate"]) and not {"--index", "--help"} & {*given}
        if trains not in self._forkers:
            self._forkers[trains] = _Forker([*_ANY, *_TRAINING] if trains else _ANY)
        with tempfile.TemporaryDirectory() as said:
            out, err = (Path(said) / name for name in ("out", "err"))
            code = self._forkers[trains]([str(SCRIPT), *given], str(cwd or Path.cwd()), str(out), str(err))
            return Ran(code, out.read_text(), err.read_text())

    def close(self) -> None:
        """End the processes that were forked from."""
        for forker in self._forkers.values():
            forker.close()
        self._forkers.clear()


def _become(arguments: list[str], folder: str, out: str, err: str) -> None:
    """Be the command from here on."""
    for number, name, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, out, os.O_WRONLY | os.O_CREAT),
        (2, err, os.O_WRONLY | os.O_CREAT),
    ):
        opened = os.open(name, flags, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    os.chdir(folder)
    sys.argv = arguments


def _end(main: Callable[[], None]) -> None:
    """Run it to its end, and end as Python does but for taking apart what was loaded, which takes half a second."""
    code = 0
    try:
        main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001 (as Python itself)
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _serve(asked: IO[bytes], told: IO[bytes], main: Callable[[], None]) -> None:
    for line in asked:
        child = os.fork()
        if not child:
            _become(*json.loads(line))
            _end(main)
        told.write(b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        told.flush()


if __name__ == "__main__":
    import importlib

    for module in sys.argv[1:]:
        importlib.import_module(module)
    from medclip.cli.app import main

    # Unbuffered: a child would end with what was read ahead, or written and not yet sent.
    _serve(open(os.dup(0), "rb", buffering=0), open(os.dup(1), "wb", buffering=0), main)  # noqa: SIM115
