"""Running a server until it is stopped."""

import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from medclip.errors import MissingDependencyError, OptionError

if TYPE_CHECKING:
    from concurrent.futures import Future

    import uvicorn

    from medclip.assistant.assistant import Assistant

__all__ = ["Listening", "serve_index"]


@dataclass(frozen=True)
class Listening:
    """Where a server listens."""

    host: str = "127.0.0.1"
    port: int = 8765
    names: tuple[str, ...] = ()  # by which it is called beside its address
    https: bool = False  # whether a proxy in front of it speaks https

    @property
    def hosts(self) -> frozenset[str]:
        """Names that a request may call it by."""
        here = {"127.0.0.1", "localhost", "::1"} if self._is_local or self.host in ("0.0.0.0", "::") else set()
        return frozenset({self.host.lower(), *here, *(name.lower() for name in self.names)})

    @property
    def _is_local(self) -> bool:
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() == "localhost"

    @property
    def address(self) -> str:
        """What a browser opens."""
        shown = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host
        if self.names:
            shown = self.names[0]
        if self.https:
            return f"https://{shown}"
        return f"http://{f'[{shown}]' if ':' in shown else shown}:{self.port}"

    def socket(self) -> socket.socket:
        """Bound already, so that a port that is taken is one clear line.

        Raises:
            OptionError: it cannot be.
        """
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        # Its protocol is named, or asyncio leaves Nagle's algorithm on, and an answer waits 40 ms for the head's receipt.
        bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((self.host, self.port))
            bound.listen()  # who opens the link at once waits for the first answer, and is not refused
        except OSError as error:
            bound.close()
            raise OptionError(
                f"--host {self.host} --port {self.port}: cannot be listened at ({error.strerror or error}); name another port"
            ) from error
        return bound


def serve_index(
    folder: Path,
    listening: Listening,
    *,
    token_file: Path | None,
    audit_log: Path,
    originals: Path | None = None,
    at_once: int,
    threads: int | None,
    verify: bool = False,
    ready: Callable[[str], None],
) -> None:
    """Serve an index until the process is told to stop.

    Args:
        token_file: what programs send; without one only browsers that come by the link may ask.
        originals: the cases folder that the index was built from, to show its scans as their files have them.
        verify: the model anew, whatever is remembered of it.
        ready: told the one-time link when it can be opened.

    Raises:
        MissingDependencyError: the extra ``serve`` is not installed.
        OptionError: it cannot listen there, the token is none, or the originals are no folder.
        ArchiveError, BundleError: the index cannot be opened; where its model is refused, the server ends by it.
        OutputError: the log cannot be written.
    """
    from medclip.server.desk import Desk
    from medclip.server.entrance import Entrance, read_token
    from medclip.server.settings import Limits

    limits = replace(Limits(), at_once=at_once)
    token = None if token_file is None else read_token(token_file)
    desk = Desk(folder, limits, threads, verify=verify)  # whose model is opened while what follows is loaded
    try:
        import uvicorn

        from medclip.server.app import make_app
        from medclip.server.connections import Impatient
    except ModuleNotFoundError as error:
        raise MissingDependencyError(error.name or "FastAPI", "serve") from error
    from medclip.server.audit import Audit
    from medclip.server.context import Context
    from medclip.server.originals import Originals
    from medclip.server.uploads import Desktop, workroom

    files = Originals(originals, limits.slices_bytes, limits.kept_bytes)
    with listening.socket() as bound, workroom() as room:
        entrance = Entrance(token, limits.sessions)
        context = Context(desk, Desktop(room, limits), entrance, limits, listening.https, files, listening.port)
        audit = Audit(audit_log)
        app = make_app(context, audit, listening.hosts)
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,  # addresses may name a case; the audit log has what is to be kept
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=10,
            http=Impatient,
        )
        server = uvicorn.Server(config)
        desk.opened.add_done_callback(lambda opened: _end_if_refused(server, opened))
        try:
            with _told_to_stop(server) as told, _spooled_in(room):
                ready(f"{listening.address}/enter?key={entrance.link()}")
                server.run(sockets=[bound])
        finally:
            audit.close()
    if told:
        raise SystemExit(128 + told[0])
    desk.opened.result()


def _end_if_refused(server: "uvicorn.Server", opened: "Future[Assistant]") -> None:
    if opened.exception() is not None:
        server.should_exit = True


@contextmanager
def _told_to_stop(server: "uvicorn.Server") -> Iterator[list[int]]:
    """A signal to stop lets the server end, so that what was sent is deleted; by default it ends the process at once.

    Yields:
        The signals that came. uvicorn raises again what it was told, when it has ended.
    """
    told: list[int] = []

    def stop(number: int, _: object) -> None:
        told.append(number)
        server.should_exit = True

    before = {one: signal.signal(one, stop) for one in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield told
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


@contextmanager
def _spooled_in(room: Path) -> Iterator[None]:
    """Uploads that arrive are kept there, too: the form's reader writes what is large into temporary files."""
    before, tempfile.tempdir = tempfile.tempdir, str(room)
    try:
        yield
    finally:
        tempfile.tempdir = before
