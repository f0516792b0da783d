"""Import: a source's drafts → a cases folder. A bad case is skipped, counted and listed, never the end of the rest."""

import contextlib
import json
import stat
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from functools import reduce
from operator import and_
from pathlib import Path

from medclip.cases.case import Case
from medclip.cases.manifest import MANIFEST, MARK, write_cases
from medclip.cases.sources import Options, Part, Remark, Skipped, load_source
from medclip.cases.sources.base import Draft
from medclip.errors import CaseError, ScanError
from medclip.files.outputs import new_folder, replaced_file
from medclip.files.plain import copy_file, permissions, read_regular, write_json
from medclip.modalities.scan.read import read_scan

__all__ = ["REPORT", "SHOWN", "ImportReport", "import_cases", "report_beside"]

REPORT = "import-report.json"
_LONGEST_REPORT = 1 << 28  # bytes
SHOWN = 3  # of what was left out, on the terminal; the report has all


@dataclass(frozen=True)
class ImportReport:
    """What an import took and left out."""

    source: str
    cases: int
    scans: int
    patients: int
    key: str | None = None  # the file of the key that ids were hashed with
    skipped: list[Skipped] = field(default_factory=list)
    cases_left_out: int = 0  # of what was skipped, those that were whole cases; the rest is `Part`
    remarks: list[str] = field(default_factory=list)  # how the source was read


def _narrow(path: Path, mode: int) -> None:
    path.chmod(stat.S_IMODE(path.stat().st_mode) & mode)


def _store(draft: Draft, folder: Path) -> Case | Skipped:
    """Copy the draft's files into the folder, and read every scan once; on failure nothing of it stays.

    Returns:
        The case, with the window that each of its scans was read through; or why it was left out, by all of its files.
    """
    written: list[Path] = []
    faults: list[str] = []
    windows: dict[str, str] = {}
    scanned = {scan.file for scan in draft.case.scans}
    for name, source in draft.files.items():
        target = folder / name
        try:
            if target.exists():
                raise CaseError(f"another case has a file {name}")
            target.parent.mkdir(parents=True, exist_ok=True)
            written.append(target)
            if isinstance(source, bytes):
                target.write_bytes(source)
                _narrow(target, draft.mode)
            else:
                if name in scanned and (window := read_scan(source).window):
                    windows[name] = window
                copy_file(source, target)
        except (ScanError, CaseError) as error:
            place = draft.places.get(name)  # instead of the file's name, which may be a patient's
            said = str(error) if isinstance(source, bytes) else str(error).removeprefix(f"{source}: ")
            faults.append(f"{place}: {said}" if place else str(error))
    if faults:
        for path in written:
            path.unlink(missing_ok=True)
        return Skipped(draft.case.id, "; ".join(faults))
    scans = [s.model_copy(update={"window": windows[s.file]}) if s.file in windows else s for s in draft.case.scans]
    return draft.case.model_copy(update={"scans": tuple(scans)})


def _write_private(report: ImportReport, file: Path) -> None:
    """Write a report that names source files, which often are named after patients, for its owner alone."""
    with replaced_file(file) as made:
        made.touch(0o600)
        write_json(made, asdict(report))


def report_beside(out: Path, key: Path | None) -> Path:
    """Where a report goes that cannot be in the cases folder: beside the key, or, where no case came of it, beside `out`."""
    return (key or out).with_name(f"{(key or out).name}.{REPORT}")


def _forget(beside: Path) -> None:
    """Delete the report of an earlier attempt that brought no case, now that one did; a file that is none stays."""
    try:
        earlier = json.loads(read_regular(beside, _LONGEST_REPORT, follow=False))
    except (OSError, ValueError):
        return
    if (
        isinstance(earlier, dict)
        and earlier.keys() == {one.name for one in fields(ImportReport)}
        and not earlier["cases"]
    ):
        with contextlib.suppress(OSError):
            beside.unlink()


def import_cases(
    source: str,
    path: Path | None,
    out: Path,
    *,
    force: bool = False,
    options: Options | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> ImportReport:
    """Import `path` in the layout of `source` into a new cases folder `out`.

    A source that hashes ids with a key leaves no name behind in the cases folder, and file names often are names: its
    report is written beside the key. Without ``options.key`` that is OUT.key. Where no case could be imported there is no
    cases folder, and the report is beside it: OUT.import-report.json.

    Args:
        progress: called with each case id.

    Raises:
        CaseError: the source is unknown, `path` is not in its layout, or no case could be imported.
        OutputError: `out` exists (without `force`) or cannot be written.
    """
    layout = load_source(source)
    options = options or Options()
    for chosen in fields(Options):
        if getattr(options, chosen.name) != chosen.default and chosen.name not in layout.OPTIONS:
            raise CaseError(f"source {source} takes no --{chosen.name.replace('_', '-')}")
    if "key" in layout.OPTIONS and options.key is None:
        options = replace(options, key=out.with_name(f"{out.name}.key"))
    if options.key and out.resolve() in (options.key.resolve(), *options.key.resolve().parents):
        raise CaseError(
            f"{options.key}: is or lies in the cases folder; keep the key apart from the cases that it hides"
        )
    if layout.NEEDS_PATH and path is None:
        raise CaseError(
            f"source {source} reads a folder: name it, as in  medclip cases import {source} PATH --out CASES"
        )
    if not layout.NEEDS_PATH and path is not None:
        raise CaseError(f"source {source} takes no path")
    if path is not None and not path.exists():
        raise CaseError(f"{path}: not found; check the path")
    with new_folder(out, force=force, marker=MARK) as folder:
        mode = reduce(and_, (permissions(read) for read in (path, options.reports) if read is not None), 0o777)
        _narrow(folder, mode)
        cases: list[Case] = []
        seen: set[str] = set()
        skipped: list[Skipped] = []
        remarks: list[str] = []
        for item in layout.draft(path, options):
            result: Case | Skipped
            if isinstance(item, Remark):
                remarks.append(item.text)
                continue
            if isinstance(item, Skipped):
                result = item
            elif item.case.id in seen:
                result = Skipped(item.case.id, "an earlier case has the same id")
            else:
                progress(item.case.id)
                result = _store(item, folder)
            if isinstance(result, Skipped):
                skipped.append(result)
            else:
                seen.add(result.id)
                cases.append(result)
                mode &= item.mode if isinstance(item, Draft) else 0o777
        report = ImportReport(
            source=source,
            cases=len(cases),
            scans=sum(len(case.scans) for case in cases),
            patients=len({case.patient for case in cases}),
            key=str(options.key) if options.key else None,
            skipped=skipped,
            cases_left_out=sum(not isinstance(one, Part) for one in skipped),
            remarks=remarks,
        )
        beside = report_beside(out, options.key)
        if options.key or not cases:
            _write_private(report, beside)
        else:
            write_json(folder / REPORT, asdict(report))
        if not cases:
            shown = "" if options.key else "".join(f"; {one.case_id}: {one.reason}" for one in skipped[:SHOWN])
            raise CaseError(f"{path or source}: no case could be imported; {beside} says why of all{shown}")
        _narrow(folder, mode)  # the texts are to be read by nobody who may not read their sources
        write_cases(folder, cases)
        _narrow(folder / MANIFEST, mode)
    if not options.key:
        _forget(beside)
    return report
