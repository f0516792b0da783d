"""Run in the light environment: no torch there, the commands answer, the size is within bounds."""

import importlib.util
import json
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

MOST_MEGABYTES = 650


def _size(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink()) / 1e6


def _run(command: str, *arguments: object) -> str:
    done = subprocess.run([command, *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"medclip {arguments} failed: {done.stderr}")
    return done.stdout


def main() -> None:
    """Check and print what was found."""
    for name in ("torch", "open_clip", "timm", "transformers", "onnx"):
        if importlib.util.find_spec(name):
            sys.exit(f"{name} is installed in the light environment")
    site = Path(sysconfig.get_paths()["purelib"])
    for name in ("index", "cli"):
        if (site / name).exists():
            sys.exit(f"a module named {name} landed in site-packages")
    size = _size(site)
    if size > MOST_MEGABYTES:
        sys.exit(f"the light environment weighs {size:.0f} MB, over {MOST_MEGABYTES}")
    medclip = str(Path(sys.executable).with_name("medclip"))
    with tempfile.TemporaryDirectory() as scratch:
        cases = Path(scratch) / "cases"
        _run(medclip, "cases", "import", "sample", "--out", cases)
        _run(medclip, "cases", "check", cases)
        refused = subprocess.run(
            [medclip, "train", str(cases), "--out", scratch + "/m"], capture_output=True, text=True, check=False
        )
        if refused.returncode != 2 or "medclip-assistant[train]" not in refused.stderr:
            sys.exit(f"train without torch does not name the extra: {refused.stderr}")
        for extra, asked in (("label", ("cases", "label", cases)), ("speech", ("cases", "transcribe", cases))):
            done = subprocess.run([medclip, *map(str, asked)], capture_output=True, text=True, check=False)
            if done.returncode != 2 or f"medclip-assistant[{extra}]" not in done.stderr:
                sys.exit(f"{asked} without its extra does not name it: {done.stderr}")
        model = Path("demo/model")
        if model.is_dir():
            index = Path(scratch) / "index"
            _run(medclip, "model", "verify", model)
            _run(medclip, "index", "build", cases, "--model", model, "--split", "train", "--out", index)
            scan = next((cases / "scans").iterdir())
            answer = json.loads(_run(medclip, "query", index, "--scan", scan, "--text", "cough", "--json"))
            _run(medclip, "similar", index, answer["similar"][0]["case_id"])
            print(f"answered without torch: {len(answer['similar'])} similar cases")
        else:
            sys.exit("no demo/model to answer with: run  make demo  first")
    print(f"light environment: {size:.0f} MB (at most {MOST_MEGABYTES})")


if __name__ == "__main__":
    main()
