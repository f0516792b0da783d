"""The same in JSON, under ``/api/v1``; its OpenAPI document is ``/api/v1/openapi.json``."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, Field
from starlette.datastructures import QueryParams

from medclip import DISCLAIMER, __version__
from medclip.archive.browsing import CaseSheet, FieldValues, Listing, list_cases, read_where, sheet_of, values_of
from medclip.assistant.account import account_of
from medclip.assistant.answer import Answer
from medclip.assistant.asking import Asked
from medclip.assistant.explanation import explain
from medclip.assistant.record import parse_record, record_json
from medclip.errors import OptionError
from medclip.server.again import Wanted
from medclip.server.context import Context, case_named
from medclip.server.site import answered, asked_as_new

__all__ = ["Problem", "api"]


class Problem(BaseModel):
    """What an answer with a status of 400 or more says."""

    detail: str = Field(description="one line: what is wrong, and what to do")


_STATUSES = {
    400: "this is no form, has a header that is none, or too many files",
    401: "no token, or another one",
    403: "a page of another site asked",
    404: "there is no such case or label set",
    408: "the request did not arrive in time",
    413: "the request is too large",
    415: "the body is of another kind",
    421: "the server is not called so",
    422: "something of what was given cannot be used",
    500: "the index is damaged or gone, or an extra is not installed",
    503: "too much is asked at once, or it took too long; Retry-After says when to try again",
}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": told} for status, told in _STATUSES.items()
}

_TEXT, _FILES = {"type": "string"}, {"type": "array", "items": {"type": "string", "format": "binary"}}
_QUESTION = {
    "type": "object",
    "properties": {
        "scans": {**_FILES, "description": "PNG, JPEG, TIFF, DICOM (of a series all files), NIfTI, or a zip of them"},
        "history": {**_TEXT, "description": "what is known beside the scans"},
        "report": {**_TEXT, "description": "what was found on them"},
        "recordings": {**_FILES, "description": "dictations of the report"},
        "measure": {"type": "array", "items": _TEXT, "description": "temperature=38.9Cel, in UCUM units"},
        "age": {**_TEXT, "description": "years"},
        "sex": {"type": "string", "enum": ["female", "male", "other"]},
    },
}
_FORM = {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _QUESTION}}}}


class _Asked(BaseModel):
    """How a question is answered: as on the pages."""

    k: int = Field(10, ge=1, le=200, description="how many similar cases, one a patient, are shown")
    where: str = Field("", description="only cases of which it is true: modality = 'CT' and age >= 60")
    coverage: float = Field(0.9, gt=0.5, lt=1, description="of how many new patients sets hold the right label")
    label: list[str] = Field([], description="answer these label sets alone")
    like: list[str] = Field([], description="case ids: show more like these")
    unlike: list[str] = Field([], description="case ids: show none like these")
    without: list[str] = Field([], description="parts of the query that are taken out")
    region: str = Field("", description="SCAN:left,top,right,bottom in shares of the picture: search by it alone")
    distinct: bool = Field(False, description="hide near-duplicates")


_Query = Annotated[_Asked, Query()]
_Id = Annotated[str, Query(min_length=1, max_length=200, description="a case")]
_Sort = Annotated[list[str], Query(description="fields, -FIELD for descending")]
_Limit = Annotated[int, Query(ge=1, le=500)]
_Offset = Annotated[int, Query(ge=0, le=1 << 40)]
_RECORD = {"requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}}


_PARAMETERS = {*_Asked.model_fields, "id", "sort", "limit", "offset", "field"}


def _known(request: Request) -> None:
    """What is misspelt would be left out without a word."""
    for name in request.query_params:
        if name not in _PARAMETERS:
            raise OptionError(f"{name[:100]}: is no parameter here; there are {', '.join(sorted(_PARAMETERS))}")


def _wanted(given: _Asked) -> Wanted:
    pairs = [
        (name, str(one))
        for name, value in given.model_dump().items()
        for one in (value if isinstance(value, list) else [value])
        if one is not False
    ]
    return Wanted.read(QueryParams(pairs))


class Service(BaseModel):
    """What is asked here."""

    disclaimer: str
    medclip_version: str
    archive: dict[str, Any] = Field(description="what  medclip index info --json  says")


def api(context: Context) -> APIRouter:
    """The routes."""
    routes, desk = APIRouter(prefix="/api/v1", responses=_RESPONSES, dependencies=[Depends(_known)]), context.desk

    def answer_to(given: Any, wanted: Wanted, record: bool) -> Asked:
        assistant = desk.assistant()
        if given.where:
            raise OptionError("filters stand in the address here: ?where=")
        return answered(assistant, given.question(assistant, context.desktop), wanted, record=record)

    @routes.post("/query", openapi_extra=_FORM)
    async def query(request: Request, asked: _Query) -> Answer:
        """Similar cases for what is known of a new patient, and what they turned out to be."""
        given, wanted = await context.form(request), _wanted(asked)
        return (await desk.work(lambda: answer_to(given, wanted, False))).answer

    @routes.post("/record", openapi_extra=_FORM)
    async def record(request: Request, asked: _Query) -> dict[str, Any]:
        """The same, as a record from which  explain  answers again."""
        given, wanted = await context.form(request), _wanted(asked)
        found = (await desk.work(lambda: answer_to(given, wanted, True))).record
        assert found is not None
        return record_json(found)

    @routes.post("/explain", openapi_extra=_RECORD)
    async def explained(request: Request) -> dict[str, Any]:
        """Answer again from a record, say what has changed since, and how the answer comes about."""
        text = await request.body()
        return await desk.work(lambda: explain(desk.assistant(), parse_record(text, "record"), "record").as_json())

    @routes.get("/similar")
    async def similar(request: Request, id: _Id, asked: _Query) -> Answer:
        """The cases most similar to an archived one, as if it were new."""
        wanted = _wanted(asked)

        def made() -> Answer:
            assistant = desk.assistant()
            return asked_as_new(assistant, case_named(request, assistant, id), wanted).answer

        return await desk.work(made)

    @routes.get("/cases")
    async def cases(
        where: str = "",
        sort: _Sort = [],  # noqa: B006
        limit: _Limit = 50,
        offset: _Offset = 0,
    ) -> Listing:
        """Archived cases, in pages."""

        def made() -> Listing:
            index = desk.assistant().index
            return list_cases(index, where=read_where(index, where), sort=list(sort), limit=limit, offset=offset)

        return await desk.look(made)

    @routes.get("/case")
    async def case(request: Request, id: _Id) -> CaseSheet:
        """One case whole."""

        def made() -> CaseSheet:
            assistant = desk.assistant()
            return sheet_of(assistant.index, case_named(request, assistant, id))

        return await desk.look(made)

    @routes.get("/values")
    async def values(field: str = "") -> list[FieldValues]:
        """What filters can ask for, and how many cases have what."""
        return await desk.look(lambda: values_of(desk.assistant().index, field or None))

    @routes.get("/info")
    async def info() -> Service:
        """What can be answered here, and how well."""

        def made() -> Service:
            return Service(disclaimer=DISCLAIMER, medclip_version=__version__, archive=account_of(desk.assistant()))

        return await desk.look(made)

    return routes
