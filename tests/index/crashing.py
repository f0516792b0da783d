"""What a process does until it is killed (run in a process of its own by test_crash.py)."""

import os
import signal
import threading
import time
from pathlib import Path

from medclip.files.outputs import new_folder
from medclip.index import CaseIndex, Entry
from medclip.index.structures.base import Spec

STRUCTURE = Spec("ivf-pq4", {"nlist": 4})


def build(folder: Path, entries: list[Entry]) -> None:
    with new_folder(folder, force=True, marker="index.json") as partial:
        CaseIndex.create(partial, entries, fingerprint="f", structure=STRUCTURE)


def act(action: str, folder: Path, entries: list[Entry]) -> None:
    if action == "build":
        build(folder, entries)
        return
    index = CaseIndex.open(folder)
    if action == "add":
        index.add(entries)
    elif action == "update":
        index.update(entries)
    elif action == "remove":
        index.remove([entry.record.id for entry in entries])
    else:
        index.compact()
    index.close()


def act_and_die(action: str, folder: Path, entries: list[Entry], after: float) -> None:
    """Begin, and be killed by SIGKILL after so many seconds."""

    def kill() -> None:
        time.sleep(after)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
    act(action, folder, entries)
