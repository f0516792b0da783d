"""What is at stake when a command is killed: a small world of cases, a model and an index, and what commands do to it."""

import csv
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image

from medclip.archive.build import Place, build_index
from medclip.archive.layout import VOCABULARY
from medclip.archive.moving import back_up, export_index, import_index
from medclip.archive.upkeep import change_cases, compact_index, remove_cases
from medclip.archive.verify import verify_index
from medclip.bundle.layout import Layout
from medclip.bundle.verify import verify_bundle
from medclip.cases.importing import import_cases
from medclip.cases.manifest import read_cases
from medclip.embedding.shards import content_of
from medclip.index import CaseIndex
from medclip.index.exchange import read_export
from medclip.index.structures.base import Spec

__all__ = ["ALONE", "ON_INDEX", "PATIENT", "World", "act", "make_world", "states_of"]

PATIENT = "w1thdr4wn-patient"
"""Who withdraws consent: one case of theirs is in the index, one is among those that are added."""

ON_INDEX = ("build", "add", "update", "remove", "compact", "backup", "export")
ALONE = ("import", "index import", "train")
"""Commands that touch nothing but what they make."""

_SECRET = "zzquokkazz"
_COLUMNS = ("case", "patient", "scan", "modality", "caption", "findings", "age", "label.organ", "split")
State = dict[str, str] | None
"""Case id → content; None where there is nothing."""


@dataclass(frozen=True)
class World:
    """What all trials share, and never change."""

    root: Path
    model: Path
    towers: str | None = None  # which to train; nothing is trained where None

    @property
    def cases(self) -> Path:
        """What the index is of."""
        return self.root / "cases"

    @property
    def more(self) -> Path:
        """What is added, or replaces the index."""
        return self.root / "more"

    @property
    def changed(self) -> Path:
        """Some of the same, as they are later."""
        return self.root / "changed"

    @property
    def index(self) -> Path:
        """The index before."""
        return self.root / "index"

    @property
    def export(self) -> Path:
        """All that it holds."""
        return self.root / "export.gz"

    def fresh(self, here: Path) -> None:
        """Lay out what one trial may change."""
        shutil.copytree(self.index, here / "index", copy_function=_linked)


def _linked(source: str, target: str) -> str:
    """The model's files are large and nobody writes to them."""
    if Path(source).parent.name == "model":
        os.link(source, target)
        return target
    return str(shutil.copy2(source, target))


def _write_source(folder: Path, names: list[str], *, note: str, seed: int) -> Path:
    """A folder as the source ``folder`` reads it."""
    rng = np.random.default_rng(seed)
    folder.mkdir()
    with (folder / "cases.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.DictWriter(file, _COLUMNS)
        rows.writeheader()
        for number, name in enumerate(names):
            picture = rng.integers(0, 255, (64, 64), np.uint8)
            picture[:: 2 + number % 2] //= 4
            Image.fromarray(picture).save(folder / f"{name}.png")
            words = f"{_SECRET} seen" if name.startswith("w1thdr4wn") else "nothing else"
            rows.writerow(
                {
                    "case": name,
                    "patient": PATIENT if name.startswith("w1thdr4wn") else f"patient of {name}",
                    "scan": f"{name}.png",
                    "modality": "CT",
                    "caption": f"{('lung', 'liver')[number % 2]} with {words}",
                    "findings": f"{note}: the {('lung', 'liver')[number % 2]} shows {words}",
                    "age": 30 + number,
                    "label.organ": ("lung", "liver")[number % 2],
                    "split": "dev" if number % 3 == 2 else "train",
                }
            )
    return folder


def make_world(root: Path, model: Callable[[Path], Path], towers: str | None = None) -> World:
    """Build a world in an empty folder.

    Args:
        model: told a cases folder, says where the model is.
    """
    base = [*(f"base-{i:02d}" for i in range(11)), "w1thdr4wn-first"]
    sources = {
        "cases": (base, "first reading"),
        "more": ([*(f"more-{i}" for i in range(5)), "w1thdr4wn-second"], "first reading"),
        "changed": ([*base[:3], base[-1]], "second reading"),
    }
    for seed, (name, (names, note)) in enumerate(sources.items()):
        source = _write_source(root / f"source-{name}", names, note=note, seed=seed)
        import_cases("folder", source, root / name)
    world = World(root, model(root / "cases"), towers)
    plain = root / "plain"
    build_index(read_cases(world.cases), world.cases, world.model, plain, threads=1)
    _with_structure(plain, world.index)
    export_index(world.index, world.export)
    return world


def _with_structure(plain: Path, out: Path) -> None:
    """The same index with a search structure, which so small a one would not get."""
    opened = CaseIndex.open(plain)
    out.mkdir()
    structure = Spec("ivf-flat", {"nlist": 1})
    CaseIndex.create(out, opened.entries(), fingerprint=opened.fingerprint, structure=structure)
    for path in plain.iterdir():
        if not (out / path.name).exists() and not path.name.startswith(("catalogue", "segments", "writer")):
            (shutil.copytree if path.is_dir() else shutil.copy2)(path, out / path.name)
    opened.close()


# ---- what is done


def act(action: str, world: World, here: Path) -> object:
    """Do what the command of that name does."""
    index = here / "index"
    if action == "import":
        return import_cases("folder", world.root / "source-cases", here / "cases", force=True)
    if action == "train":
        return _train(world, here / "model")
    if action == "build":
        return build_index(read_cases(world.more), world.more, world.model, index, force=True, threads=1)
    if action in ("add", "update"):
        cases = world.more if action == "add" else world.changed
        return change_cases(index, read_cases(cases), cases, update=action == "update", threads=1)
    if action == "remove":
        return remove_cases(index, [], PATIENT)
    if action == "compact":
        return compact_index(index)
    if action == "backup":
        return back_up(index, here / "backup")
    if action == "export":
        return export_index(index, here / "out.gz", force=True)
    return import_index(world.export, world.index, here / "moved", Place(), force=True)


def _train(world: World, out: Path) -> object:
    from medclip.training.run import train_model
    from medclip.training.settings import Settings

    assert world.towers is not None
    return train_model(
        read_cases(world.cases),
        world.cases,
        out,
        towers_name=world.towers,
        settings=Settings(epochs=3),
        resume=not out.exists(),
        force=out.exists(),
        threads=1,
    )


# ---- what came of it


def _index_state(folder: Path) -> State:
    if not folder.exists():
        return None
    faults = verify_index(folder).faults
    assert faults == [], faults
    index = CaseIndex.open(folder)
    try:
        contents = index.contents()
        hits = index.search(np.eye(1, index.dimension, dtype=np.float32), 1000)[0]
        assert {hit.case_id for hit in hits} == set(contents), "not all that is stored is found"
        return contents
    finally:
        index.close()


def _cases_state(folder: Path) -> State:
    if not folder.exists():
        return None
    return {case.id: content_of(case, folder) for case in read_cases(folder) if (folder / case.scans[0].file).is_file()}


def _export_state(file: Path) -> State:
    return {e.record.id: e.record.content for e in read_export(file).entries()} if file.exists() else None


def _model_state(folder: Path) -> State:
    if not folder.exists():
        return None
    verify_bundle(folder)
    return {"model": Layout(folder).weights.name}


_TARGETS: dict[str, tuple[str, Callable[[Path], State]]] = {
    **dict.fromkeys(("build", "add", "update", "remove", "compact"), ("index", _index_state)),
    "backup": ("backup", _index_state),
    "export": ("out.gz", _export_state),
    "import": ("cases", _cases_state),
    "index import": ("moved", _index_state),
    "train": ("model", _model_state),
}


def target_of(action: str, here: Path) -> Path:
    """What the action makes or changes."""
    return here / _TARGETS[action][0]


def state_of(action: str, here: Path) -> State:
    """The state of what the action makes or changes, after all checks.

    Raises:
        AssertionError, MedclipError: it is damaged.
    """
    name, read = _TARGETS[action]
    return read(here / name)


def _after(action: str, world: World, state: dict[str, str]) -> dict[str, str]:
    """What an index holds after an action."""
    if action == "build":
        return _contents(world.more)
    if action == "add":
        return _contents(world.more) | state
    if action == "update":
        return state | {case_id: now for case_id, now in _contents(world.changed).items() if case_id in state}
    if action == "remove":
        return {case_id: now for case_id, now in state.items() if not case_id.startswith("w1thdr4wn")}
    return state


def _contents(cases: Path) -> dict[str, str]:
    return {case.id: content_of(case, cases) for case in read_cases(cases)}


def states_of(action: str, second: str | None, world: World) -> Iterator[State]:
    """Which states an action's target may be in when it was killed at any moment, and another was under way."""
    index = _contents(world.cases)
    if action in ON_INDEX:
        both = [name for name in (action, second) if name is not None]
        for order in ([], *([one] for one in both), both, both[::-1]):
            state = index
            for name in order:
                state = _after(name, world, state)
            yield state
    if action not in ON_INDEX[:5]:
        yield None
    if action in ("import", "index import"):
        yield index
    if action == "train":
        yield {"model": Layout(world.model).weights.name}


def done_after(action: str, world: World, state: State) -> State:
    """The state of an action's target once the action has been repeated to its end."""
    if action in ON_INDEX[:5]:
        assert state is not None
        return _after(action, world, state)
    return next(one for one in states_of(action, None, world) if one is not None)


# ---- what is left


def leftovers(here: Path) -> list[Path]:
    """What is no output."""
    return sorted(chain(here.rglob(".*.partial"), here.rglob(".*.embedded"), here.glob("*.training")))


def traces(world: World, here: Path, *, compacted: bool) -> Iterator[tuple[Path, bytes]]:
    """The files in and beside the index in which something of the withdrawn patient stands, and what.

    Before it is compacted, an index says itself that its search structure, its probe and its list of words know them.
    """
    index = CaseIndex.open(world.index)
    views, pictures = index.views_of("w1thdr4wn-first"), index.thumbnails("w1thdr4wn-first")
    index.close()
    needles = [b"w1thdr4wn", _SECRET.encode(), *pictures.values()]
    for view in views:
        first = int(np.flatnonzero(view.vector)[0])
        needles.append(view.vector[first : first + 16].astype("<f4").tobytes())
    for file in here.rglob("*"):
        known = here / "index"
        if not file.is_file() or (not compacted and file.is_relative_to(known / "segments")):
            continue
        if not compacted and file == known / VOCABULARY:
            continue
        content = file.read_bytes()
        for needle in needles:
            if needle in content:
                yield file, needle
