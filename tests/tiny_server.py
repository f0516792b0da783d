"""A hub of models on this machine, of which huggingface_hub downloads as it does of the real one."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlparse

__all__ = ["hub"]

REVISION = hashlib.sha1(b"tests", usedforsecurity=False).hexdigest()


@contextmanager
def hub(repositories: Mapping[str, Path | None]) -> Iterator[str]:
    """Serve folders by ``ORG/NAME``; yields the address. A repository of None is gated."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Keep quiet."""

        def _send(self, code: int, body: bytes = b"", **headers: str) -> None:
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            parts = [unquote(part) for part in urlparse(self.path).path.strip("/").split("/")]
            api = parts[:2] == ["api", "models"]
            organisation, repository, kind, _revision, *rest = [*parts[2 if api else 0 :], "", "", "", ""][
                : len(parts) + 4
            ]
            name = f"{organisation}/{repository}"
            if name not in repositories:
                self._send(404, X_Error_Code="RepoNotFound", X_Error_Message="Repository not found")
                return
            folder = repositories[name]
            if folder is None:
                self._send(403, X_Error_Code="GatedRepo", X_Error_Message="Access to it is restricted")
                return
            files = {file.relative_to(folder).as_posix(): file for file in sorted(folder.rglob("*")) if file.is_file()}
            if api and kind == "tree":
                listed = [
                    {"type": "file", "path": path, "size": file.stat().st_size, "oid": REVISION}
                    for path, file in files.items()
                ]
                self._send(200, json.dumps(listed).encode(), Content_Type="application/json")
            elif api:
                said = {
                    "id": name,
                    "sha": REVISION,
                    "siblings": [{"rfilename": path} for path in files],
                    "private": False,
                }
                self._send(200, json.dumps(said).encode(), Content_Type="application/json")
            else:
                path = "/".join(part for part in rest if part)
                if path not in files:
                    self._send(404, X_Error_Code="EntryNotFound", X_Error_Message="Entry not found")
                    return
                body = files[path].read_bytes()
                digest = hashlib.sha256(body).hexdigest()
                self._send(200, body, ETag=f'"{digest}"', X_Repo_Commit=REVISION)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
