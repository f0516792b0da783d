"""The arrows between rooms (ARCHITECTURE.md), what may use which library, and what the serving path may load."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

ARROWS = {
    "errors": "",
    "label_sets": "",
    "identifiers": "",
    "metrics": "",
    "files": "errors",
    "fusion": "errors",
    "modalities": "errors files",
    "index": "errors files identifiers",
    "cases": "errors files identifiers label_sets modalities",
    "bundle": "diagnosis errors files fusion modalities",
    "diagnosis": "errors files fusion label_sets metrics",
    "embedding": "bundle cases errors files fusion modalities",
    "training": "bundle cases diagnosis errors files fusion label_sets metrics modalities",
    "archive": "bundle cases diagnosis embedding errors files fusion index modalities",
    "assistant": "archive bundle cases diagnosis embedding errors files fusion index label_sets modalities",
    "server": "archive assistant cases diagnosis embedding errors files fusion index label_sets modalities",
    "evaluation": "archive assistant bundle cases diagnosis embedding errors files fusion index label_sets metrics "
    "modalities training",
    "reporting": "archive bundle cases diagnosis errors files fusion index label_sets metrics",
    "cli": "archive assistant bundle cases diagnosis embedding errors evaluation files fusion index label_sets metrics "
    "modalities reporting server training",
}
"""Room → the rooms that it imports; a room stands below all that import it."""

INSIDE_INDEX = {
    "records": "",
    "registry": "",
    "filters": "",
    "ordering": "",
    "folder": "",
    "stored": "records",
    "lock": "folder",
    "structures": "records registry",
    "planner": "records structures",
    "catalogue": "records stored",
    "packing": "records stored",
    "exchange": "case_index packing records stored",
    "backends": "catalogue filters folder ordering packing planner records registry stored structures",
    "manifest": "backends stored",
    "ranking": "backends records stored",
    "case_index": "backends filters folder lock manifest ordering planner ranking records stored structures",
    "": "case_index planner records",
}

HEAVY = {"torch", "open_clip", "timm", "transformers", "sentence_transformers", "torchvision", "onnxscript"}
TORCH_ROOMS = (
    "training/",
    "evaluation/crossval.py",
    "fusion/networks/",
    "fusion/inputs.py",
    "modalities/scan/encoder.py",
    "modalities/text/encoder.py",
    "modalities/text/use.py",
)
"""``evaluation/crossval.py`` trains; nothing else of evaluation may."""


def _sources() -> Iterator[tuple[str, Path]]:
    """(dotted name below ``medclip``, file) of every module; not through the links for type checkers."""
    for top in ("medclip", "index", "cli"):
        for file in sorted((ROOT / top).rglob("*.py")):
            parts = [*file.relative_to(ROOT).with_suffix("").parts]
            if top == "medclip":
                parts = parts[1:]
                if parts[0] in ("index", "cli"):
                    continue
            yield ".".join(part for part in parts if part != "__init__"), file


MODULES = dict(_sources())


def _imports(file: Path) -> set[str]:
    """Dotted names of all that a file imports, at its top, inside functions and for types alone."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def _ours(file: Path) -> set[str]:
    """Modules of medclip that a file imports, by their names below ``medclip``."""
    return {name.removeprefix("medclip.") for name in _imports(file)} & MODULES.keys()


def _rooms(prefix: str = "") -> dict[str, set[str]]:
    """Room → rooms that it imports, itself left out; below a prefix, the rooms inside that one."""
    found: dict[str, set[str]] = {}
    for name, file in MODULES.items():
        if not f"{name}.".startswith(prefix) or not name:
            continue
        own = name.removeprefix(prefix[:-1] if name == prefix[:-1] else prefix).split(".")[0]
        others = {other.removeprefix(prefix).split(".")[0] for other in _ours(file) if other.startswith(prefix)}
        found.setdefault(own, set()).update(others - {own, ""})
    return found


def test_every_arrow_between_rooms_is_on_the_map_and_every_one_on_the_map_is_there() -> None:
    assert _rooms() == {room: set(known.split()) for room, known in ARROWS.items()}


def test_every_arrow_inside_the_index_is_on_the_map() -> None:
    assert _rooms("index.") == {room: set(known.split()) for room, known in INSIDE_INDEX.items()}


@pytest.mark.parametrize("rooms", [ARROWS, INSIDE_INDEX])
def test_no_arrow_runs_back_up(rooms: dict[str, str]) -> None:
    """Rooms can be taken off floor by floor, each importing only what is below."""
    left = {room: {one for one in known.split() if one in rooms} for room, known in rooms.items()}
    while left:
        ground = {room for room, known in left.items() if not known & left.keys()}
        assert ground, f"a circle among {sorted(left)}"
        left = {room: known for room, known in left.items() if room not in ground}


def test_no_module_imports_one_that_imports_it() -> None:
    arrows = {name: _ours(file) - {name} for name, file in MODULES.items() if name}
    packages = {name for name, file in MODULES.items() if file.name == "__init__.py"}
    left = {name: known - packages for name, known in arrows.items() if name not in packages}
    while left:
        ground = {name for name, known in left.items() if not known & left.keys()}
        assert ground, f"a circle among {sorted(left)}"
        left = {name: known for name, known in left.items() if name not in ground}


def test_torch_stays_in_its_rooms() -> None:
    for name, file in MODULES.items():
        place = file.relative_to(ROOT).as_posix().removeprefix("medclip/")
        if not place.startswith((*TORCH_ROOMS, "cli/")):
            heavy = {module.split(".")[0] for module in _imports(file)} & HEAVY
            assert not heavy or place == "fusion/base.py", name  # which names a type of torch's
    assert all(any((ROOT / "medclip").glob(f"{room.rstrip('/')}*")) for room in TORCH_ROOMS)


@pytest.mark.parametrize("room", ["diagnosis", "metrics", "fusion"])
def test_these_rooms_know_neither_cases_nor_the_index(room: str) -> None:
    reached = {room}
    while more := {other for one in reached for other in ARROWS[one].split()} - reached:
        reached |= more
    assert not reached & {"cases", "index", "modalities", "embedding"}


def test_the_modalities_know_no_case() -> None:
    assert "cases" not in ARROWS["modalities"].split()


def test_answering_loads_no_torch(index: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from medclip.assistant import Assistant;"
        f"a = Assistant.open(Path({str(index)!r})); a.query([], ['a round nodule of the lung']);"
        f"print(sorted(set(sys.modules) & {HEAVY!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


UNASKED = ("faiss", "fastapi", "jinja2", "matplotlib", "medclip.index.backends.milvus", "pydicom", "pymilvus",
           "rich.progress", "scipy", "sklearn")  # fmt: skip
"""What a scan and a text, asked of a small index, have no use for."""


def _loaded(code: str, names: tuple[str, ...]) -> list[str]:
    """Those of the modules that are loaded when a program has run."""
    said = f"{code}; import sys; print(*sorted(set(sys.modules) & {set(names)!r}))"
    done = subprocess.run([sys.executable, "-P", "-c", said], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].split()


def test_a_question_loads_only_what_it_uses(kept: Path) -> None:
    asked = ["query", str(kept / "index"), "--scan", str(kept / "query.png"), "--text", "a round cyst"]
    code = f"from medclip.cli.app import app; app({asked!r}, standalone_mode=False)"
    assert _loaded(code, UNASKED) == []


def test_a_server_starts_without_what_reads_dicom() -> None:
    assert _loaded("import medclip.server.app, medclip.server.desk", ("pydicom", "gdcm", "faiss", "scipy")) == []


def test_help_loads_no_numpy() -> None:
    code = "import sys; import medclip.cli.app; print('numpy' in sys.modules, 'onnxruntime' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
