"""The web application of one index: `make_app`, which uvicorn runs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from medclip import DISCLAIMER, __version__
from medclip.errors import MedclipError
from medclip.server.api import api
from medclip.server.audit import Audit
from medclip.server.compare import compare
from medclip.server.context import Context, problem, refusal, status_of
from medclip.server.desk import Desk
from medclip.server.guard import HEADERS, Guard
from medclip.server.pages import STATIC
from medclip.server.site import site
from medclip.server.walk import walk

__all__ = ["make_app"]


def make_app(context: Context, audit: Audit, hosts: frozenset[str]) -> FastAPI:
    """The application.

    Args:
        hosts: names by which browsers and programs may call it, without a port.
    """

    desk = context.desk

    @asynccontextmanager
    async def running(_: FastAPI) -> AsyncIterator[None]:
        forgetting = asyncio.create_task(_forgetting(desk))
        yield
        forgetting.cancel()

    async def failed(request: Request, error: MedclipError) -> Response:
        status = status_of(error)
        message = str(error).replace(str(desk.folder), "the index")  # where it lies is nobody's business
        return problem(request, status, message, {"retry-after": "5"} if status == 503 else None)

    app = FastAPI(
        title="medclip",
        version=__version__,
        description=DISCLAIMER,
        docs_url=None,  # its page would fetch scripts from elsewhere
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
        lifespan=running,
        telemetry={"auto_configure": False},
        exception_handlers={
            MedclipError: failed,
            RequestValidationError: _invalid,
            HTTPException: _refused,
            ClientDisconnect: _vanished,
            Exception: _broken,
        },
        middleware=[
            Middleware(
                Guard,
                entrance=context.entrance,
                cookie=context.cookie,
                audit=audit,
                hosts=hosts,
                body=context.limits.body,
                arriving=context.limits.arriving,
                refuse=refusal,
            ),
            Middleware(RequestBodyLimitMiddleware, max_body_size=context.limits.body),
        ],
    )
    app.include_router(site(context))
    app.include_router(walk(context))
    app.include_router(compare(context))
    app.include_router(api(context))
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    return app


async def _forgetting(desk: Desk) -> None:
    while True:
        await asyncio.sleep(30)
        desk.tidy()


async def _invalid(request: Request, error: RequestValidationError) -> Response:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"][1:]) or "the request"
    return problem(request, 422, f"{name[:100]}: {first['msg']}")


async def _refused(request: Request, error: HTTPException) -> Response:
    return problem(request, error.status_code, str(error.detail), error.headers)


async def _vanished(request: Request, _: ClientDisconnect) -> Response:
    return problem(request, 408, "The request stopped half-way; send it again.")


async def _broken(request: Request, error: Exception) -> Response:
    # its text may quote what was sent; the kind of error and where it rose are in the server's own log
    message = f"This failed by a mistake of the program ({type(error).__name__}); please report it."
    return problem(request, 500, message, HEADERS)  # outside the guard, which adds them to all others
