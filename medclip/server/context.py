"""What the routes of one server share, and how errors become answers."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import Scope

from medclip.assistant.assistant import Assistant
from medclip.errors import ArchiveError, BundleError, MedclipError, MissingDependencyError, NotThereError, OutputError
from medclip.server.desk import BusyError, Desk, LateError
from medclip.server.entrance import Entrance
from medclip.server.given import Given, read_form
from medclip.server.originals import Originals
from medclip.server.pages import page
from medclip.server.settings import Limits
from medclip.server.uploads import Desktop

__all__ = ["JSON", "Context", "case_named", "gone", "problem", "refusal", "status_of", "wants_json", "who_asks"]

JSON = "application/json"

_FIELDS = 500  # of a form, beside its files
_TEXT = 1 << 20  # bytes of one field

_HEADINGS = {
    400: "This cannot be understood",
    403: "Not allowed",
    404: "Not found",
    405: "Not done this way",
    408: "It did not arrive in time",
    413: "Too much at once",
    422: "This cannot be used",
    500: "Something went wrong here",
    503: "Too busy",
}


@dataclass(frozen=True)
class Context:
    """One server."""

    desk: Desk
    desktop: Desktop
    entrance: Entrance
    limits: Limits
    secure: bool = False  # whether browsers reach it by https, so that the cookie must, too
    originals: Originals = field(default_factory=Originals)
    port: int = 0  # at which it listens
    arriving: asyncio.Semaphore = field(init=False)  # places for forms that are being received

    def __post_init__(self) -> None:
        object.__setattr__(self, "arriving", asyncio.Semaphore(self.limits.arriving_at_once))

    @property
    def cookie(self) -> str:
        """The name of its cookie: browsers send one of a host to all of its ports, where another server may listen."""
        return f"medclip-{self.port}"

    async def form(self, request: Request) -> Given:
        """What was filled in.

        Raises:
            OptionError, TextError: as `read_form`.
            HTTPException: it is no form, or has too many files.
            BusyError: too many are being received.
        """
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in ("multipart/form-data", "application/x-www-form-urlencoded"):
            raise HTTPException(415, "A question is a form; send it as multipart/form-data.")
        if self.arriving.locked():
            raise BusyError("So much is being sent at once that no more is received; try again in a moment.")
        async with self.arriving:
            form = await request.form(max_files=self.limits.files, max_fields=_FIELDS, max_part_size=_TEXT)
        return read_form(form)


def who_asks(request: Request) -> str:
    """Whose request this is; the guard lets nobody else in."""
    return str(request.state.who)


def case_named(request: Request, assistant: Assistant, case_id: str) -> str:
    """A case id that was asked for by name, which the log learns of as a keyed hash.

    Raises:
        ArchiveError: there is no such case.
    """
    assistant.index.record(case_id)
    request.state.cases.append(case_id)
    return case_id


def status_of(error: MedclipError) -> int:
    """The status of an answer to what could not be done."""
    if isinstance(error, BusyError | LateError):
        return 503
    if isinstance(error, NotThereError):
        return 404
    if isinstance(error, ArchiveError | OutputError | BundleError | MissingDependencyError):
        return 500
    return 422


def wants_json(scope: Scope) -> bool:
    """Whether a request is answered in JSON: under ``/api/``, and where a page's script asks for it."""
    return scope["path"].startswith("/api/") or Headers(scope=scope).get("accept") == JSON


def problem(request: Request, status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """A page, or JSON, that says in a line what is wrong."""
    if wants_json(request.scope):
        return JSONResponse({"detail": message}, status, headers)
    heading = _HEADINGS.get(status, "This was not done")
    return HTMLResponse(
        page("problem", heading=heading, message=message, status=status, back=_back(request, status)), status, headers
    )


def _back(request: Request, status: int) -> str | None:
    """The question that was asked otherwise than it can be."""
    parts = request.url.path.split("/")
    return f"/questions/{parts[2]}" if status == 422 and parts[1] == "questions" and len(parts) > 2 else None


def gone(request: Request, context: Context) -> Response:
    """What is said of a question that is not there."""
    minutes = context.limits.minutes
    return problem(
        request,
        404,
        f"This question is not kept any more: it is forgotten after {minutes} minutes, when "
        "newer ones need its room, and when the server ends.",
    )


def refusal(scope: Scope, status: int, heading: str, message: str) -> Response:
    """The same for the guard, with a heading of its own."""
    if wants_json(scope):
        headers = {"www-authenticate": "Bearer"} if status == 401 else None
        return JSONResponse({"detail": message}, status, headers)
    return HTMLResponse(page("problem", heading=heading, message=message, status=status, back=None), status)
