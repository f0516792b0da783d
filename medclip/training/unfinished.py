"""The folder of unfinished work, ``OUT.training``, and what it was begun for: `--resume` goes on for that alone.

Scans are told apart by their contents, not by size and time as the cache of features does (`features.py`): a copied
folder has other times and the same scans, and a masked or rewritten scan may have the same size. Reading each once more
is little beside decoding it, which training does for every augmentation.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medclip.cases.splits import Fold
from medclip.errors import CaseError, OutputError
from medclip.files.outputs import replaced_file
from medclip.files.plain import digest_of, unreadable, write_json
from medclip.files.workplaces import cleared, held, is_workplace
from medclip.training.settings import FuserSettings, Settings, TuneSettings

__all__ = ["request_of", "unfinished_of", "working"]

_REQUEST = "request.json"
"""In the folder: what the work was begun for."""

_CASES = {"ids": "cases (or their order or split)", "records": "records of the cases", "scans": "scan files"}
"""Digests in the request → what differs where they do; a later one is only looked at where the earlier agree."""

_NAMES = {
    "towers": "--towers, --image-tower or --text-tower",
    "crops": "--crops",
    "unfreeze": "--unfreeze",
    "distil": "--distil",
    "tune.epochs": "--unfreeze-epochs",
    "settings.seed": "--seed",
    "settings.epochs": "--epochs",
    "fuser.name": "--fuser",
    "fuser.weights": "--loss-weights",
}
"""What was asked for → the option that says so; whatever has none is a setting of Python's alone."""


def request_of(
    fold: Fold,
    folder: Path,
    *,
    towers: str,
    crops: bool,
    settings: Settings,
    fuser: FuserSettings,
    tune: TuneSettings | None,
    distil: str | None = None,
) -> dict[str, Any]:
    """All that decides what a training gives, as JSON: the settings, and digests of the cases.

    Raises:
        CaseError: a scan cannot be read.
    """
    ids, records, scans = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()
    for side, cases in (("train", fold.train), ("dev", fold.held_out)):
        for case in cases:
            ids.update(json.dumps([side, case.id]).encode())
            records.update(case.model_dump_json().encode())
            for scan in case.scans:
                try:
                    scans.update(digest_of(folder / scan.file).encode())
                except OSError as error:
                    raise CaseError(
                        f"{folder / scan.file}: {unreadable(error)}; see  medclip cases check {folder}"
                    ) from error
    return {
        "towers": towers,
        "crops": crops,
        "unfreeze": tune is not None,
        "tune": asdict(tune) if tune else {},
        "distil": distil,
        "settings": asdict(settings),
        "fuser": asdict(fuser),
        "cases": {"ids": ids.hexdigest(), "records": records.hexdigest(), "scans": scans.hexdigest()},
    }


def unfinished_of(out: Path) -> Path:
    """The folder of a model's unfinished work."""
    return out.parent / f"{out.name}.training"


@contextmanager
def working(out: Path, request: Callable[[], dict[str, Any]], *, resume: bool, force: bool) -> Iterator[Path]:
    """Hold the folder of unfinished work: a new one, or one that belongs to this very request.

    Args:
        request: gives `request_of`; called once nothing else stands in the way, since it reads every scan.

    Raises:
        OutputError: another process holds it, it is there and neither `resume` nor `force` says what to do with it, or
            it was begun for something else.
    """
    work = unfinished_of(out)
    file = work / _REQUEST
    busy = f"{out}: another process is training it; wait until it is done, or choose another --out"
    if not work.parent.exists():
        raise OutputError(f"{work.parent}: does not exist; create it first")
    if work.exists() and not is_workplace(work):
        raise OutputError(f"{work}: is no unfinished training; move it away, or choose another --out")
    if (force or not file.is_file()) and not cleared(work):
        raise OutputError(busy)
    with ExitStack() as stack:
        try:
            stack.enter_context(held(work))
        except BlockingIOError:
            raise OutputError(busy) from None
        if not file.is_file():
            asked = request()
            with replaced_file(file) as partial:
                write_json(partial, asked)
        elif not resume:
            raise OutputError(
                f"{work}: an unfinished training is here; go on with --resume, or start anew with --force"
            )
        else:
            _agree(work, _read(file), request)
        yield work


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise OutputError(f"{file}: is damaged; start anew with --force")
    return found


def _agree(work: Path, begun: dict[str, Any], request: Callable[[], dict[str, Any]]) -> None:
    """Refuse to go on with what was begun for something else."""
    if not isinstance(begun.get("cases"), dict):
        raise OutputError(
            f"{work}: was begun by an earlier medclip, which did not note for which cases; start anew with --force"
        )
    asked = json.loads(json.dumps(request()))  # as it comes back from the file
    before, now = _flat(begun), _flat(asked)
    if before.get("unfreeze") != now["unfreeze"]:  # then all of `tune` differs, and that is all there is to say
        before, now = ({k: v for k, v in one.items() if not k.startswith("tune.")} for one in (before, now))
    differ = [key for key in dict.fromkeys([*now, *before]) if before.get(key) != now.get(key)]
    said = [f"{_NAMES.get(key, key)} (was {_shown(before.get(key))})" for key in differ if key != "tune.seed"]
    digests = (words for key, words in _CASES.items() if begun["cases"].get(key) != asked["cases"][key])
    said += [f"other {words}" for words in digests][:1]
    if said:
        raise OutputError(
            f"{work}: was begun with something else: {', '.join(said)}; repeat it, or start anew with --force"
        )


def _flat(request: dict[str, Any]) -> dict[str, Any]:
    """Dotted name → value of every setting; the cases' digests left out."""
    flat: dict[str, Any] = {}
    for key, value in request.items():
        if key == "cases":
            continue
        flat |= {f"{key}.{name}": one for name, one in value.items()} if isinstance(value, dict) else {key: value}
    return flat


def _shown(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return "on" if value else "off"
    return ",".join(f"{one:g}" for one in value.values()) if isinstance(value, dict) else str(value)
