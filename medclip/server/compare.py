"""Query and archived case side by side: the page, and the slices that it shows."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse

from medclip.archive.entries import case_of
from medclip.assistant.assistant import Assistant
from medclip.assistant.wording import shown_labels
from medclip.cases.case import Case
from medclip.errors import NotThereError
from medclip.server.again import Wanted, address, case_page
from medclip.server.context import Context, case_named, gone, problem, who_asks
from medclip.server.originals import Original
from medclip.server.pages import page
from medclip.server.site import picture_of
from medclip.server.stacks import told, values

__all__ = ["compare"]

_OF_QUESTION = "the scan as it was given"
_Scan = Annotated[int, Query(ge=1, le=10_000, description="from 1")]
_Other = Annotated[int | None, Query(alias="with", ge=1, le=10_000, description="scan of the case, from 1")]
_Slice = Annotated[int, Query(ge=0, le=1 << 20)]


@dataclass(frozen=True)
class Side:
    """One of the two that are compared."""

    title: str
    about: str  # of the scan that is shown
    scan: int  # from 1
    scans: list[int]  # to choose from
    picture: str  # the address of one picture of it
    slices: str  # the address of what there is of it slice by slice
    values: str  # the address of their values
    case: Case | None = None  # an archived one
    original: bool = True  # whether its values can be had; else the thumbnail is all there is


def compare(context: Context) -> APIRouter:
    """The routes."""
    routes, desk = APIRouter(include_in_schema=False, default_response_class=HTMLResponse), context.desk

    def side_of(assistant: Assistant, case_id: str, scan: int | None) -> Side:
        case = case_of(assistant.index.record(case_id))
        there = [number + 1 for number in sorted(assistant.index.thumbnails(case_id))]
        if not there:
            raise NotThereError(f"{desk.folder}: has no case {case_id!r} with a picture; nothing can be compared")
        if scan is None:
            scan = there[0]
        if scan not in there:
            raise NotThereError(f"{desk.folder}: has no case {case_id!r} with a scan {scan}; check the address")
        known = case.scans[scan - 1]
        pairs = [("id", case_id), ("scan", str(scan))]
        return Side(
            f"Case {case_id}", ", ".join(one for one in (known.modality, known.plane) if one), scan, there,
            picture_of(case_id, scan - 1), address("/case/slices", pairs), address("/case/values", pairs), case,
            context.originals.has(case, scan - 1),
        )  # fmt: skip

    def page_of(left: Side, right: Side, back: str, kept: list[tuple[str, str]]) -> Response:
        assert right.case is not None
        synthetic = any(side.case is not None and side.case.synthetic for side in (left, right))
        return HTMLResponse(
            page(
                "compare", left=left, right=right, back=back, kept=kept, synthetic=synthetic,
                labels=shown_labels(right.case.case_labels), case_page=case_page(right.case.id),
            )
        )  # fmt: skip

    @routes.get("/questions/{name}/compare")
    async def with_question(request: Request, name: str, case: str, scan: _Scan = 1, other: _Other = None) -> Response:
        question, wanted = desk.kept(who_asks(request), name), Wanted.read(request.query_params)
        if question is None:
            return gone(request, context)
        if scan > len(question.scans):
            return problem(request, 404, f"This question has {len(question.scans)} scans, and no scan {scan}.")

        def made() -> Response:
            assistant = desk.assistant()
            right = side_of(assistant, case_named(request, assistant, case), other)
            base, pairs = f"/questions/{name}", [("scan", str(scan))]
            left = Side(
                "New patient", "", scan, list(range(1, len(question.scans) + 1)),
                f"{base}/scans/{scan}", address(f"{base}/slices", pairs), address(f"{base}/values", pairs),
            )  # fmt: skip
            return page_of(left, right, address(base, wanted.pairs()), wanted.pairs())

        return await desk.look(made)

    @routes.get("/similar/compare")
    async def with_case(
        request: Request, id: str, case: str, scan: _Scan | None = None, other: _Other = None
    ) -> Response:
        wanted = Wanted.read(request.query_params)

        def made() -> Response:
            assistant = desk.assistant()
            left = side_of(assistant, case_named(request, assistant, id), scan)
            right = side_of(assistant, case_named(request, assistant, case), other)
            pairs = [("id", id), *wanted.pairs()]
            return page_of(left, right, address("/similar", pairs), pairs)

        return await desk.look(made)

    @routes.get("/questions/{name}/slices")
    async def question_slices(request: Request, name: str, scan: _Scan) -> Response:
        stack = desk.stack(who_asks(request), name, scan - 1)
        return gone(request, context) if stack is None else JSONResponse(told(stack, _OF_QUESTION))

    @routes.get("/questions/{name}/values")
    async def question_values(
        request: Request, name: str, scan: _Scan, first: _Slice = 0, last: _Slice = 1 << 20
    ) -> Response:
        stack = desk.stack(who_asks(request), name, scan - 1)
        if stack is None:
            return gone(request, context)
        return StreamingResponse(values(stack, first, last), media_type="application/octet-stream")

    async def original(request: Request, case_id: str, scan: int) -> Original:
        def made() -> Original:
            assistant = desk.assistant()
            found = assistant.index.record(case_named(request, assistant, case_id))
            return context.originals.of(found, scan - 1)

        return await desk.look(made)

    @routes.get("/case/slices")
    async def case_slices(request: Request, id: str, scan: _Scan) -> Response:
        found = await original(request, id, scan)
        if found.stack is None:
            return JSONResponse({"source": found.source, "picture": picture_of(id, scan - 1)})
        return JSONResponse(told(found.stack, found.source))

    @routes.get("/case/values")
    async def case_values(
        request: Request, id: str, scan: _Scan, first: _Slice = 0, last: _Slice = 1 << 20
    ) -> Response:
        stack = (await original(request, id, scan)).stack
        if stack is None:
            return problem(request, 404, "The original of this scan is not here.")
        return StreamingResponse(values(stack, first, last), media_type="application/octet-stream")

    return routes
