"""The arrows between rooms, and what the serving path may load."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "open_clip", "timm", "transformers", "sentence_transformers", "torchvision", "onnxscript"}
TORCH_ROOMS = (
    "training/",
    "bundle/export.py",
    "bundle/save.py",
    "fusion/",
    "modalities/scan/encoder.py",
    "modalities/text/encoder.py",
    "modalities/text/use.py",
)


def _imports(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def test_the_index_knows_nothing_of_the_rest() -> None:
    low = ("errors", "files", "identifiers", "outputs", "sealed", "workplaces")
    below = {f"medclip.{name}" for name in low}
    for file in (ROOT / "index").rglob("*.py"):
        ours = {name for name in _imports(file) if name.startswith("medclip")}
        assert all(name in below or name.startswith("medclip.index") for name in ours), (file, ours)


def test_diagnosis_and_evaluation_take_plain_types_only() -> None:
    for room in ("diagnosis", "evaluation"):
        for file in (ROOT / "medclip" / room).rglob("*.py"):
            ours = {name for name in _imports(file) if name.startswith("medclip.")}
            allowed = (
                "medclip.errors",
                "medclip.files.plain",
                "medclip.label_sets",
                "medclip.files.sealed",
                "medclip.files.tensors",
                "medclip.diagnosis",
                "medclip.evaluation",
            )
            assert all(name.startswith(allowed) for name in ours), (file, ours)


def test_torch_stays_in_its_rooms() -> None:
    for file in (ROOT / "medclip").rglob("*.py"):
        name = file.relative_to(ROOT / "medclip").as_posix()
        if name.startswith(TORCH_ROOMS) or name.startswith(("index/", "cli/")):
            continue
        assert not {module.split(".")[0] for module in _imports(file)} & HEAVY, file


def test_nobody_below_imports_the_command_line() -> None:
    for folder in ("medclip", "index"):
        for file in (ROOT / folder).rglob("*.py"):
            if "cli" not in file.relative_to(ROOT).parts:
                assert not any(name.startswith("medclip.cli") for name in _imports(file)), file


def test_answering_loads_no_torch(index: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from medclip.assistant.assistant import Assistant;"
        f"a = Assistant.open(Path({str(index)!r})); a.query([], ['a round nodule of the lung']);"
        f"print(sorted(set(sys.modules) & {HEAVY!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_loads_no_numpy() -> None:
    code = "import sys; import medclip.cli.app; print('numpy' in sys.modules, 'onnxruntime' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
