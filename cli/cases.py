"""``medclip cases``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from medclip.cases.importing import ImportReport

__all__ = ["app"]

app = typer.Typer(
    help="Import cases, and check what is in a cases folder.", no_args_is_help=True, rich_markup_mode=None
)


_SHOWN = 10  # masked words on the screen; the report in the folder has all


@app.command("import")
def import_(
    source: Annotated[str, typer.Argument(help="folder, dicom, medpix-2.0, covid-chestxray, sample or sample-joint.")],
    path: Annotated[Path | None, typer.Argument(help="The published folder (none for sample).")] = None,
    out: Annotated[Path, typer.Option("--out", help="The cases folder to make.")] = ...,  # type: ignore[assignment]
    force: Annotated[bool, typer.Option("--force", help="Replace an existing cases folder.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sample cohort.")] = 0,
    key: Annotated[
        Path | None, typer.Option(help="File of the key that ids are hashed with, made if need be (dicom). [OUT.key]")
    ] = None,
    reports: Annotated[
        Path | None, typer.Option(help="CSV or .xlsx with the studies' texts and labels (dicom).")
    ] = None,
    allow_outside: Annotated[
        bool, typer.Option("--allow-outside", help="Take files that do not lie below the table's folder, too (folder).")
    ] = False,
    encoding: Annotated[
        str | None, typer.Option(help="Encoding of a CSV that is no Unicode and no Latin-1, such as gb18030.")
    ] = None,
    sheet: Annotated[str | None, typer.Option(help="Sheet of a workbook; the first by default.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Import cases from a published layout, a folder of your own, or a synthetic sample.

    Exit code 1 where cases were left out; the report says why of each.
    """
    from dataclasses import asdict

    from medclip.cases.importing import REPORT, SHOWN, import_cases, report_beside
    from medclip.cases.sources import Options
    from medclip.cli import render

    with render.progress() as bar:
        bar.stage("importing cases")
        options = Options(
            seed=seed, key=key, reports=reports, allow_outside=allow_outside, encoding=encoding, sheet=sheet
        )
        report = import_cases(source, path, out, force=force, options=options, progress=bar.advance)
    listed = str(report_beside(out, Path(report.key)) if report.key else out / REPORT)
    if as_json:
        shown = asdict(report) | {"left_out": len(report.skipped), "report": listed}
        if report.key:
            del shown["skipped"]  # names of files, which may be those of patients
        render.print_json(shown)
    else:
        _say_imported(report, out, listed, SHOWN)
    if report.cases_left_out:
        raise typer.Exit(1)


def _say_imported(report: "ImportReport", out: Path, listed: str, most: int) -> None:
    from medclip.cli import render

    for remark in report.remarks:
        render.say(remark)
    render.say(f"{out}: {report.cases} cases of {report.patients} patients, {report.scans} scans")
    if report.key:
        render.say(f"ids are hashed with the key in {report.key}: keep it, apart from the cases")
    if report.skipped:
        first = [] if report.key else report.skipped[:most]
        render.say(
            (f"{len(report.skipped)} left out", "yellow"), f"; {listed} says why{'. The first:' if first else ''}"
        )
        for skipped in first:
            render.say(f"  {skipped.case_id}: {skipped.reason}")


@app.command()
def transcribe(
    cases: Annotated[Path, typer.Argument(help="A cases folder.")],
    speech_model: Annotated[
        str, typer.Option(help="base, a folder in CTranslate2's format, or a Whisper name on the hub.")
    ] = "base",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; all cores by default.")] = None,
) -> None:
    """Write down what is said in the cases' recordings, offline; exit code 1 where one could not be understood."""
    from medclip.cases.transcribing import transcribe_cases
    from medclip.cli import render

    with render.progress() as bar:
        bar.stage("listening")
        done = transcribe_cases(cases, model=speech_model, threads=threads, progress=bar.advance)
    render.say(f"{cases}: {done.new} recordings transcribed, {done.kept} already were")
    for case_id, reason in done.failed.items():
        render.say(f"  {case_id}: {reason}")
    if done.failed:
        raise typer.Exit(1)


@app.command()
def label(
    cases: Annotated[Path, typer.Argument(help="A cases folder.")],
    least: Annotated[
        int, typer.Option(min=2, help="Patients that a finding must be affirmed in, and denied in, to become a label.")
    ] = 10,
) -> None:
    """Read findings from the reports, as a multi-label set that says so; doubted and unnamed ones stay unknown."""
    from medclip.cases.labelling import label_cases
    from medclip.cli import render
    from medclip.label_sets import REPORT_FAMILY

    with render.progress() as bar:
        found = label_cases(cases, least=least, progress=bar.stage)
    render.say(f"{cases}: {len(found)} findings became labels of the multi-label set {REPORT_FAMILY} (not verified)")
    for row in found:
        render.say(f"  {row.finding}: present {row.present}, absent {row.absent}, doubted {row.uncertain}")


@app.command()
def mask(
    cases: Annotated[Path, typer.Argument(help="A cases folder.")],
    out: Annotated[Path, typer.Option("--out", help="The masked cases folder to make.")] = ...,  # type: ignore[assignment]
    word: Annotated[
        list[str] | None, typer.Option("--word", help="One more word to mask, a regular expression; may be repeated.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing cases folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON, with every masked word.")] = False,
) -> None:
    """Copy cases with the words that give labels and diagnoses away masked in every text that is embedded."""
    from dataclasses import asdict

    from medclip.cases.masking import MASKED, mask_cases
    from medclip.cli import render

    with render.progress() as bar:
        bar.stage("masking")
        report = mask_cases(cases, out, words=word or [], force=force, progress=bar.advance)
    if as_json:
        render.print_json(asdict(report))
        return
    times = sum(one.times for one in report.words)
    render.say(f"{out}: words masked in {report.changed} of {report.cases} cases, {times} times")
    for one in report.words[:_SHOWN]:
        render.say(f"  {one.word}: {one.times} times, in {one.cases} cases")
    if len(report.words) > _SHOWN:
        render.say(f"  ... and {len(report.words) - _SHOWN} more: {out / MASKED}")
    if report.kept_classes:
        render.say(f"not masked, since they name no disease: {', '.join(report.kept_classes)} (mask them with --word)")
    if report.kept_findings:
        render.say(f"not masked, since they were read from the reports: {len(report.kept_findings)} label sets")


@app.command("sample-dicom")
def sample_dicom(
    out: Annotated[Path, typer.Option("--out", help="The folder tree to make.")] = ...,  # type: ignore[assignment]
    force: Annotated[bool, typer.Option("--force", help="Replace an existing tree.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sample cohort.")] = 0,
) -> None:
    """Write the synthetic sample as a PACS would export it: DICOM series, reports and a CSV of labels."""
    from medclip.cases.sources.sample.as_dicom import REPORTS, write_sample_dicom
    from medclip.cli import render

    with render.progress() as bar:
        bar.stage("writing DICOM files")
        studies = write_sample_dicom(out, seed=seed, force=force)
    render.say(f"{out}: {studies} studies")
    render.say(f"next:  medclip cases import dicom {out} --reports {out / REPORTS} --out CASES")


@app.command()
def check(
    cases: Annotated[Path, typer.Argument(help="A cases folder.")],
    privacy: Annotated[
        bool,
        typer.Option("--privacy", help="Count what still looks like an identifier instead; any is an error."),
    ] = False,
    burned_in: Annotated[
        bool, typer.Option("--burned-in", help="Read words burnt into the scans, too: about a second a scan.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON, with all case ids.")] = False,
) -> None:
    """Say what is in a cases folder and what is wrong with it; exit code 1 where an error was found."""
    from dataclasses import asdict

    from medclip.cases.check import check_cases, check_privacy
    from medclip.cli import render

    with render.progress() as bar:
        bar.stage("reading every case")
        report = (check_privacy if privacy else check_cases)(cases, burned_in=burned_in, progress=bar.advance)
    if as_json:
        render.print_json({**asdict(report), "ok": report.ok})
    else:
        render.check_report(report, str(cases))
    if not report.ok:
        raise typer.Exit(1)
