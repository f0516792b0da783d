"""What every request passes: its host, origin, token and time; and the headers that every answer carries."""

import re
import time
from collections.abc import Callable, Mapping

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from medclip.errors import OutputError
from medclip.server.audit import Audit
from medclip.server.entrance import Entrance

__all__ = ["HEADERS", "Guard"]

Refuse = Callable[[Scope, int, str, str], ASGIApp]

_OPEN = ("/static/", "/enter")
_HURRY = 10.0  # seconds within which the request of a stranger must have arrived
_STRANGER = 4096  # bytes that may be sent by who has not entered
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_CHANGES = ("POST", "PUT", "PATCH", "DELETE")

HEADERS: Mapping[str, str] = {
    "content-security-policy": "default-src 'self'; img-src 'self' data: blob:; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'; object-src 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(self)",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class Guard:
    """ASGI middleware. What it refuses gets a page or, under ``/api/``, JSON."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        entrance: Entrance,
        cookie: str,
        audit: Audit,
        hosts: frozenset[str],
        body: int,
        arriving: float,
        refuse: Refuse,
    ) -> None:
        """Args:
        cookie: its name.
        hosts: names by which the server may be called, without a port.
        body: bytes of a request at most.
        arriving: seconds within which a request must have arrived.
        refuse: makes the answer to a request that is refused: (scope, status, heading, message).
        """
        self.app, self.entrance, self.cookie, self.audit, self.hosts = app, entrance, cookie, audit, hosts
        self.body, self.arriving, self.refuse = body, arriving, refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it; either way it stands in the log."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":  # there is none
                await send({"type": "websocket.close", "code": 1008})
                return
            await self.app(scope, receive, send)
            return
        began, headers = time.monotonic(), Headers(scope=scope)
        cookies = cookie_parser(headers.get("cookie", ""))
        who = self.entrance.who(headers, cookies.get(self.cookie, ""))
        scope.setdefault("state", {}).update(who=who, cases=[])
        status = 500

        async def answered(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                given = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    given[name] = value
                if not scope["path"].startswith("/static/"):
                    given["cache-control"] = "no-store"
            await send(message)

        try:
            app = self._refused(scope, headers, who) or self.app
            try:
                self.audit.check()
            except OutputError as error:
                app = self.refuse(scope, 503, "Not logged, so not done", f"The log cannot be written ({error}).")
            await app(scope, self._timed(receive, began, self.arriving if who else _HURRY), answered)
        finally:
            if not scope["path"].startswith("/static/"):
                route = getattr(scope.get("route"), "path", "no such page")
                self.audit.write(
                    who or "nobody",
                    f"{scope['method'] if scope['method'] in _METHODS else 'other'} {route}",
                    status,
                    time.monotonic() - began,
                    scope["state"]["cases"],
                )

    def _refused(self, scope: Scope, headers: Headers, who: str | None) -> ASGIApp | None:
        host = headers.get("host", "")
        if _name(host) not in self.hosts:
            return self.refuse(
                scope, 421, "Another host", "This server is not called so; open it by the name that it printed."
            )
        origin = headers.get("origin")
        if scope["method"] in _CHANGES:
            foreign = origin is not None and not _is_own(origin, host)
            if foreign or headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
                return self.refuse(
                    scope, 403, "Another site", "A page of another site asked for this; it was not done."
                )
        if who is None and not scope["path"].startswith(_OPEN):
            return self.refuse(
                scope,
                401,
                "Not entered yet",
                "Open the link that  medclip serve  printed, or give the token of its file.",
            )
        length = headers.get("content-length", "0" if scope["method"] not in _CHANGES else "")
        if who is None and not (length.isdigit() and int(length) <= _STRANGER):
            return self.refuse(scope, 413, "Too much at once", "Enter first: a token is short.")
        if length.isdigit() and int(length) > self.body:  # what comes without saying so is counted as it comes
            return self.refuse(
                scope,
                413,
                "Too much at once",
                f"More than {self.body >> 20} MiB were sent; send fewer or smaller files.",
            )
        return None

    def _timed(self, receive: Receive, began: float, arriving: float) -> Receive:
        """What arrives, which must be whole in time: a sender who trickles would hold a place forever."""
        whole = False

        async def timed() -> Message:
            nonlocal whole
            if whole:
                return await receive()
            left = arriving - (time.monotonic() - began)
            message: Message = {"type": "http.disconnect"}
            with anyio.move_on_after(max(0.0, left)):
                message = await receive()
            whole = message["type"] != "http.request" or not message.get("more_body", False)
            return message

        return timed


_HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?")


def _name(host: str) -> str:
    """A host without its port, as a header has it; empty where it is none."""
    found = _HOST.fullmatch(host)
    return "" if found is None else found[1].strip("[]").lower()


def _is_own(origin: str, host: str) -> bool:
    return origin.lower() in (f"http://{host.lower()}", f"https://{host.lower()}")
