"""A virtual environment a peer, made with pip, beside the project and not in it."""

import json
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from peers.base import Peer

__all__ = ["InstallError", "python_of"]

READY = "ready.json"


class InstallError(Exception):
    """A peer's packages cannot be installed; the message is pip's last line."""


def python_of(peer: type[Peer], folder: Path) -> str:
    """The interpreter that runs a peer: the one that runs this for ours, else that of its environment, made if missing.

    Raises:
        InstallError: pip failed.
    """
    if not peer.packages:
        return sys.executable
    place = folder / peer.environment
    python = place / "bin" / "python"
    ready = place / READY
    if ready.exists() and json.loads(ready.read_text()) == list(peer.packages):
        return str(python)
    print(f"# {peer.environment}: pip install {' '.join(peer.packages)}", file=sys.stderr, flush=True)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    venv.create(place, with_pip=True)
    command = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", *peer.packages]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["pip said nothing"]
        errors = [line for line in said if line.startswith("ERROR")]  # warnings may follow them
        raise InstallError((errors or said)[-1][:300])
    ready.write_text(json.dumps(list(peer.packages)))
    return str(python)
