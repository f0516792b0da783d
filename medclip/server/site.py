"""The pages: ask, the answer, its record; entering. Those of the archive stand in `medclip.server.walk`."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from fastapi import APIRouter, Form, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from medclip.archive.browsing import FieldValues, example_of, values_of
from medclip.archive.layout import manifest_of
from medclip.assistant.answer import SimilarCase
from medclip.assistant.asking import Asked, Question
from medclip.assistant.assistant import Assistant
from medclip.assistant.record import record_json
from medclip.errors import NotThereError, OptionError
from medclip.index import CaseIndex
from medclip.modalities.measurements.measurement import AGE, SEX
from medclip.modalities.scan.read import thumbnail
from medclip.server.again import Again, Wanted, address
from medclip.server.context import Context, case_named, gone, problem, wants_json, who_asks
from medclip.server.pages import Picture, answer_page, page, pictures_of

__all__ = ["Choices", "answered", "asked_as_new", "choices_of", "picture_of", "site"]

_SIDE = 480  # pixels of a query's picture
_CHOICES = 40  # values of a field that one may choose from


def picture_of(case_id: str, number: int) -> str:
    """The address of a scan's thumbnail; scans are counted from 0."""
    return address("/picture", [("id", case_id), ("scan", str(number))])


@dataclass(frozen=True)
class Choices:
    """What filters can be made of, as forms offer it."""

    texts: list[FieldValues]  # fields to choose a value of
    ranges: list[FieldValues]  # fields of numbers
    example: str  # a filter; empty where nothing is known
    synthetic: bool  # whether every case of the archive is invented


def choices_of(assistant: Assistant) -> Choices:
    """The choices that an index gives; gathered anew when its cases have changed."""
    return _choices(assistant.index, assistant.index.mark())


@lru_cache(maxsize=1)
def _choices(index: CaseIndex, _mark: str) -> Choices:
    found = values_of(index)
    texts = [one for one in found if one.kind == "text" and 1 < len(one.values) <= _CHOICES and not one.others]
    labelled = {one.field.removeprefix("label."): one.values for one in texts if one.field.startswith("label.")}
    invented = [value.value for one in found if one.field == "synthetic" for value in one.values]
    return Choices(
        [one for one in texts if labelled.get(one.field) != one.values],  # what a label set says, too, once
        [one for one in found if one.kind == "number" and one.lowest is not None],
        example_of(found) or "",
        invented == ["yes"],
    )


def answered(assistant: Assistant, question: Question, wanted: Wanted, *, record: bool = False) -> Asked:
    """A question's answer.

    Raises:
        MedclipError: what is wanted does not fit the question or the index.
    """
    patient = assistant.index.record(wanted.leave_out).patient if wanted.leave_out else None
    return assistant.answer(
        question, k=wanted.k, label_sets=wanted.label_sets, where=wanted.where or None, exclude_patient=patient,
        promise=wanted.promise, refinement=wanted.refinement, record=record,
    )  # fmt: skip


def asked_as_new(assistant: Assistant, case_id: str, wanted: Wanted, *, record: bool = False) -> Asked:
    """The answer for an archived case as if it were new.

    Raises:
        MedclipError: there is no such case, or what is wanted does not fit it or the index.
    """
    refinement = wanted.refinement
    if refinement.region is not None or refinement.without or wanted.leave_out:
        raise OptionError("an archived case is asked whole: without region, parts taken out or patients left out")
    return assistant.similar(
        case_id, k=wanted.k, label_sets=wanted.label_sets, where=wanted.where or None, promise=wanted.promise,
        record=record, refinement=refinement,
    )  # fmt: skip


def _record_file(asked: Asked) -> Response:
    """The record of an answer, to be saved."""
    assert asked.record is not None
    headers = {"content-disposition": 'attachment; filename="record.json"'}
    return JSONResponse(record_json(asked.record), headers=headers)


def site(context: Context) -> APIRouter:
    """The routes."""
    routes, desk = APIRouter(include_in_schema=False, default_response_class=HTMLResponse), context.desk

    def pictures(assistant: Assistant) -> Callable[[SimilarCase], list[Picture]]:
        def of(case: SimilarCase) -> list[Picture]:
            return pictures_of(case, assistant.index.thumbnails, lambda number, _: picture_of(case.case_id, number))

        return of

    @routes.get("/enter")
    async def enter_by_link(request: Request, key: str = "") -> Response:
        return _entered(request, key)

    @routes.post("/enter")
    async def enter_by_token(request: Request, token: str = Form("")) -> Response:
        return _entered(request, token.strip())

    def _entered(request: Request, key: str) -> Response:
        if request.state.who is not None:
            return RedirectResponse("/", 303)
        cookie = context.entrance.enter(key)
        if cookie is None:
            return problem(request, 401, "This link was used already, or the token is another one.")
        answer = HTMLResponse(page("entered"))
        answer.set_cookie(context.cookie, cookie, httponly=True, samesite="strict", secure=context.secure, path="/")
        return answer

    @routes.get("/")
    async def ask() -> str:
        def made() -> str:
            assistant = desk.archive()
            choices = choices_of(assistant)
            units = manifest_of(assistant.index).measurements.units
            measurements = [(name, units.get(name, "")) for name in assistant.measurements if name not in (AGE, SEX)]
            return page(
                "ask", choices=choices.texts, ranges=choices.ranges, measurements=measurements,
                synthetic=choices.synthetic, limits=context.limits,
            )  # fmt: skip

        return await desk.look(made)

    @routes.post("/questions")
    async def questions(request: Request) -> Response:
        given, who = await context.form(request), who_asks(request)

        asked = await desk.work(
            lambda: given.looked_at(desk.assistant(), context.desktop, context.limits.slices_bytes)
        )  # what is given up is not kept
        name = desk.keep(who, asked.question, asked.stacks)
        there = address(f"/questions/{name}", Wanted(where=given.where).pairs())
        if wants_json(request.scope):  # a script, which would fetch the page that it is led to
            return JSONResponse({"address": there}, 201, {"location": there})
        return RedirectResponse(there, 303)

    @routes.post("/transcripts")
    async def transcripts(request: Request) -> Response:
        given = await context.form(request)
        heard = await desk.work(lambda: given.transcripts(desk.assistant(), context.desktop))
        return JSONResponse(
            {
                "text": "\n\n".join(one.text for one in heard),
                "language": heard[0].language,
                "seconds": sum(one.seconds for one in heard),
            }
        )

    @routes.get("/questions/{name}")
    async def answer(request: Request, name: str) -> Response:
        question, wanted = desk.kept(who_asks(request), name), Wanted.read(request.query_params)
        if question is None:
            return gone(request, context)

        def made() -> str:
            assistant = desk.assistant()
            asked = answered(assistant, question, wanted)
            base = f"/questions/{name}"
            live = Again(
                base, wanted, question.less(wanted.refinement.without).parts.there, len(question.scans),
                choices_of(assistant).example,
            )  # fmt: skip
            return answer_page(
                asked.answer, title="New patient", texts=question.texts, pictures=pictures(assistant), live=live,
                asked=[f"{base}/scans/{n}" for n in range(1, len(question.scans) + 1)],
            )  # fmt: skip

        return HTMLResponse(await desk.work(made))

    @routes.get("/questions/{name}/scans/{number}")
    async def asked_scan(request: Request, name: str, number: int) -> Response:
        question = desk.kept(who_asks(request), name)
        if question is None or not 1 <= number <= len(question.scans):
            return gone(request, context)
        return Response(thumbnail(question.scans[number - 1].middle, _SIDE), media_type="image/jpeg")

    @routes.get("/questions/{name}/record")
    async def question_record(request: Request, name: str) -> Response:
        question, wanted = desk.kept(who_asks(request), name), Wanted.read(request.query_params)
        if question is None:
            return gone(request, context)
        asked = await desk.work(lambda: answered(desk.assistant(), question, wanted, record=True))
        return _record_file(asked)

    @routes.post("/questions/{name}/forget")
    async def forget(request: Request, name: str) -> Response:
        desk.forget(who_asks(request), name)
        return RedirectResponse("/", 303)

    @routes.get("/similar")
    async def similar(request: Request, id: str) -> str:
        wanted = Wanted.read(request.query_params)

        def made() -> str:
            assistant = desk.assistant()
            case_id = case_named(request, assistant, id)
            asked = asked_as_new(assistant, case_id, wanted)
            own = [picture_of(case_id, number) for number in sorted(assistant.index.thumbnails(case_id))]
            live = Again("/similar", wanted, (), 0, choices_of(assistant).example, (("id", case_id),), len(own))
            return answer_page(
                asked.answer, title=f"Case {case_id}", texts=[], asked=own, pictures=pictures(assistant), live=live
            )

        return await desk.work(made)

    @routes.get("/similar/record")
    async def similar_record(request: Request, id: str) -> Response:
        wanted = Wanted.read(request.query_params)

        def made() -> Asked:
            assistant = desk.assistant()
            return asked_as_new(assistant, case_named(request, assistant, id), wanted, record=True)

        asked = await desk.work(made)
        return _record_file(asked)

    @routes.get("/picture")
    async def picture(request: Request, id: str, scan: int) -> Response:
        found = await desk.look(lambda: desk.archive().index.thumbnails(id))
        if found:
            request.state.cases.append(id)
        if scan not in found:
            raise NotThereError(f"{desk.folder}: has no case with such a picture; check the address")
        return Response(found[scan], media_type="image/jpeg")

    return routes
