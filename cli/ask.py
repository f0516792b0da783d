"""``medclip query`` and ``medclip similar``."""

import gc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from medclip.assistant.assistant import Asked, Assistant
    from medclip.assistant.refining import Refinement, Region
    from medclip.diagnosis.sets import Promise

__all__ = ["FORCE", "HTML", "VERIFY", "check_page", "query", "similar"]

_K = typer.Option("-k", min=1, max=1000, help="How many similar cases, one a patient, are shown; ten vote.")
_LABEL = typer.Option("--label", help="Answer this label set only; may be repeated.")
_JSON = typer.Option("--json", help="Print the answer as JSON (docs/answer.schema.json).")
_WHERE = typer.Option(
    "--where", help="Only such cases: \"modality = 'CT' and age >= 60 and label.location = 'Thorax'\""
)
_COVERAGE = typer.Option(
    "--coverage", help="Of how many new patients a set of labels is to hold the right one: above 0.5, below 1."
)
_SMALL_SAMPLE = typer.Option(
    "--small-sample",
    help="Keep that promise even where few patients were left out: in 19 of 20 archives, not on average over them.",
)
_LIKE = typer.Option(
    "--like", help="More like this archived case; may be repeated. Moves what is shown, not who votes."
)
_UNLIKE = typer.Option("--unlike", help="Not like this archived case, which is hidden; may be repeated.")
_DISTINCT = typer.Option("--distinct", help="Hide cases a scan of which looks the same as one of a case above.")
VERIFY = typer.Option(
    "--verify", help="Verify the model anew, even if it is remembered to be well and no file of it changed since."
)
_MMAP = typer.Option("--mmap/--no-mmap", help="Map large search structures from their files, or read them into memory.")
HTML = typer.Option("--html", help="Write a self-contained page with the pictures.")
_RECORD = typer.Option("--record", help="Write a record from which  medclip explain  answers again.")
FORCE = typer.Option("--force", help="Replace an earlier page of --html, or record of --record.")


def query(
    index: Annotated[Path, typer.Argument(help="An index folder.")],
    scan: Annotated[list[Path] | None, typer.Option("--scan", help="A scan of the patient; may be repeated.")] = None,
    text: Annotated[str | None, typer.Option("--text", help="History: what is known beside the scans.")] = None,
    text_file: Annotated[Path | None, typer.Option("--text-file", help="The same, from a UTF-8 file.")] = None,
    report: Annotated[str | None, typer.Option("--report", help="Report: what was found on the scans.")] = None,
    report_file: Annotated[Path | None, typer.Option("--report-file", help="The same, from a UTF-8 file.")] = None,
    audio: Annotated[
        list[Path] | None,
        typer.Option(
            "--audio", help="A dictated report (wav, flac, mp3, ogg, webm, mp4), which is transcribed offline."
        ),
    ] = None,
    speech_model: Annotated[
        str, typer.Option(help="base, a folder in CTranslate2's format, or a Whisper name on the hub.")
    ] = "base",
    measure: Annotated[
        list[str] | None, typer.Option("--measure", help="A vital sign or lab value: temperature=38.9Cel (UCUM units).")
    ] = None,
    age: Annotated[float | None, typer.Option(min=0, max=130, help="Years.")] = None,
    sex: Annotated[str | None, typer.Option(help="female, male or other.")] = None,
    k: Annotated[int, _K] = 10,
    label: Annotated[list[str] | None, _LABEL] = None,
    coverage: Annotated[float, _COVERAGE] = 0.9,
    small_sample: Annotated[bool, _SMALL_SAMPLE] = False,
    as_json: Annotated[bool, _JSON] = False,
    html: Annotated[Path | None, HTML] = None,
    record: Annotated[Path | None, _RECORD] = None,
    force: Annotated[bool, FORCE] = False,
    where: Annotated[str | None, _WHERE] = None,
    exclude_patient: Annotated[str | None, typer.Option(help="Leave this patient's archived cases out.")] = None,
    words: Annotated[
        bool | None,
        typer.Option(
            "--words/--no-words",
            help="Let the words that texts share order what is shown, too; so it is if the query is text alone.",
        ),
    ] = None,
    like: Annotated[list[str] | None, _LIKE] = None,
    unlike: Annotated[list[str] | None, _UNLIKE] = None,
    without: Annotated[
        list[str] | None,
        typer.Option("--without", help="Take a part out: scan, history, report or measurements; may be repeated."),
    ] = None,
    region: Annotated[
        str | None,
        typer.Option(
            "--region",
            metavar="SCAN[/SLICE]:LEFT,TOP,RIGHT,BOTTOM",
            help="Show cases whose scans are like this part of a scan, in shares of the picture: 1:0.2,0.3,0.5,0.6",
        ),
    ] = None,
    distinct: Annotated[bool, _DISTINCT] = False,
    mmap: Annotated[bool, _MMAP] = True,
    verify: Annotated[bool, VERIFY] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; all cores by default.")] = None,
) -> None:
    """Find similar cases for what is known of a new patient, and say what they turned out to be."""
    gc.disable()  # what one answer leaves behind goes with the process; to look for it takes a tenth of the time
    if scan:
        from medclip.modalities.scan.decoding import start

        start()  # while the model loads
    from medclip.archive.layout import model_of
    from medclip.index import CaseIndex

    promise = _promise(coverage, small_sample)
    check_page(html, force)
    _check_record(record, force)
    history, found = (
        [part for part in (given, _read_text(file)) if part is not None]
        for given, file in ((text, text_file), (report, report_file))
    )
    opened = CaseIndex.open(index, mmap=mmap)
    model = model_of(opened, threads=threads, again=verify)
    model.towers.load_ahead(scans=bool(scan), texts=bool(history or found or audio))
    import medclip.cli.render  # noqa: F401 (while they load: what is needed only to show what comes of it)
    from medclip.assistant.assistant import Assistant
    from medclip.modalities.measurements.values import values_of

    refinement = _refinement(like, unlike, distinct, without, region)
    assistant = Assistant.of(opened, model, verify=verify)
    values = values_of(measure or [], age, sex, known=assistant.embedder.coding)
    asked = assistant.query(
        scan or [], history, values, report=found, recordings=audio or [], speech_model=speech_model,
        k=k, label_sets=label or [], where=where, exclude_patient=exclude_patient, words=words,
        promise=promise, record=record is not None, refinement=refinement,
    )  # fmt: skip
    texts = [*history, *found, *(heard.text for heard in asked.answer.transcripts)]
    _show(assistant, asked, texts, as_json, html, record, title="New patient", force=force)


def similar(
    index: Annotated[Path, typer.Argument(help="An index folder.")],
    case_id: Annotated[str, typer.Argument(help="A case of the index.")],
    k: Annotated[int, _K] = 10,
    label: Annotated[list[str] | None, _LABEL] = None,
    coverage: Annotated[float, _COVERAGE] = 0.9,
    small_sample: Annotated[bool, _SMALL_SAMPLE] = False,
    where: Annotated[str | None, _WHERE] = None,
    like: Annotated[list[str] | None, _LIKE] = None,
    unlike: Annotated[list[str] | None, _UNLIKE] = None,
    distinct: Annotated[bool, _DISTINCT] = False,
    as_json: Annotated[bool, _JSON] = False,
    html: Annotated[Path | None, HTML] = None,
    record: Annotated[Path | None, _RECORD] = None,
    force: Annotated[bool, FORCE] = False,
    verify: Annotated[bool, VERIFY] = False,
) -> None:
    """Find the cases most similar to an archived one; its own patient's are left out."""
    gc.disable()  # as above
    from medclip.assistant.assistant import Assistant

    promise = _promise(coverage, small_sample)
    refinement = _refinement(like, unlike, distinct)
    check_page(html, force)
    _check_record(record, force)
    assistant = Assistant.open(index, verify=True) if verify else Assistant.open_without_model(index)
    asked = assistant.similar(
        case_id, k=k, label_sets=label or [], where=where, promise=promise, record=record is not None,
        refinement=refinement,
    )  # fmt: skip
    _show(assistant, asked, [], as_json, html, record, title=f"Case {case_id}", case_id=case_id, force=force)


def _promise(coverage: float, small_sample: bool) -> "Promise":
    from medclip.diagnosis.sets import Promise
    from medclip.errors import OptionError

    try:
        return Promise(coverage, small_sample)
    except ValueError as error:
        raise OptionError(f"--coverage {coverage:g}: {error}") from error


def _refinement(
    like: list[str] | None,
    unlike: list[str] | None,
    distinct: bool,
    without: list[str] | None = None,
    region: str | None = None,
) -> "Refinement":
    from typing import cast

    from medclip.assistant.refining import Refinement
    from medclip.errors import OptionError
    from medclip.fusion.composition import PARTS, Part

    for name in without or ():
        if name not in PARTS:
            raise OptionError(f"--without {name[:40]}: is no part of a query; name one of {', '.join(PARTS)}")
    taken = tuple(cast(Part, name) for name in without or ())
    marked = None if region is None else _region(region)
    return Refinement(tuple(like or ()), tuple(unlike or ()), taken, marked, distinct)


def _region(text: str) -> "Region":
    from medclip.assistant.refining import Region
    from medclip.errors import OptionError

    try:
        return Region.parse(text)
    except ValueError as error:
        raise OptionError(
            f"--region {text[:60]}: is not SCAN[/SLICE]:LEFT,TOP,RIGHT,BOTTOM; give for example 1:0.2,0.3,0.5,0.6"
        ) from error


def _check_record(record: Path | None, force: bool) -> None:
    if record is not None:
        from medclip.assistant.record import MARK
        from medclip.files.outputs import check_free_file

        check_free_file(record, force=force, marker=MARK)


def check_page(html: Path | None, force: bool) -> None:
    """Refuse a page that could not be written, before the work that it is to show."""
    if html is not None:
        from medclip.files.outputs import check_free_file
        from medclip.server.page_file import MARK

        check_free_file(html, force=force, marker=MARK)


_LONGEST = 64 << 20  # bytes of a text; what is too long to embed is refused later, by its characters


def _read_text(file: Path | None) -> str | None:
    from medclip.errors import TextError
    from medclip.files.plain import read_regular

    if file is None:
        return None
    try:
        return read_regular(file, _LONGEST).decode("utf-8")
    except UnicodeDecodeError as error:
        raise TextError(f"{file}: is not UTF-8 text; save it as UTF-8") from error
    except OSError as error:
        raise TextError(f"{file}: cannot be read ({error.strerror}); check the path") from error


def _show(
    assistant: "Assistant",
    asked: "Asked",
    texts: list[str],
    as_json: bool,
    html: Path | None,
    record: Path | None,
    *,
    title: str,
    case_id: str | None = None,
    force: bool = False,
) -> None:
    from medclip.cli import render

    if record is not None and asked.record is not None:
        from medclip.assistant.record import write_record

        write_record(record, asked.record, force=force)
    if html is not None:
        from medclip.server.page_file import write_page

        write_page(html, assistant, asked, title=title, texts=texts, case_id=case_id, force=force)
    if as_json:
        render.print_json(asked.answer.model_dump(mode="json"))
        return
    for number, read in enumerate(asked.scans, start=1):
        if read.summary:
            render.say(f"scan {number}: {read.summary}")
    for heard in asked.answer.transcripts:
        render.say(f"heard ({heard.language}, {heard.seconds:.0f} s, Whisper {heard.model}): {heard.text}")
    render.answer(asked.answer)
    if html is not None:
        render.say(f"page written to {html}")
    if record is not None:
        render.say(f"record written to {record}")
