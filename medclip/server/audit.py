"""Who asked what kind of thing when: one JSON line a request, without texts, pictures, labels or ids."""

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock

from medclip.errors import OutputError
from medclip.files.plain import read_regular

__all__ = ["Audit"]


class Audit:
    """A log that is only ever added to; case ids stand in it as keyed hashes (HMAC-SHA256)."""

    def __init__(self, file: Path) -> None:
        """Open the log, and the key beside it; both are made where they are missing, for their owner alone.

        Raises:
            OutputError: one cannot be written or read.
        """
        self.file, self._lock = file, Lock()
        self._owed = b""  # lines that could not be written yet
        key = file.with_name(f"{file.name}.key")
        try:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not key.exists():
                made = os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
                with os.fdopen(made, "w") as out:
                    out.write(secrets.token_hex(32))
            self._key = read_regular(key, 4096).strip()
            self._out = self._opened()
        except OSError as error:
            raise OutputError(f"{file}: cannot be written ({error.strerror}); name another by --audit-log") from error

    def _opened(self) -> int:
        return os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)

    def check(self) -> None:
        """Make sure that a line can be written: open the log anew where it was moved or deleted, as rotation does.

        Raises:
            OutputError: the log cannot be opened, or the last line could not be written and still cannot.
        """
        with self._lock:
            try:
                if not (self.file.exists() and os.path.samestat(os.fstat(self._out), self.file.stat())):
                    fresh = self._opened()
                    os.close(self._out)
                    self._out = fresh
                if self._owed:
                    os.write(self._out, self._owed)
                    self._owed = b""
            except OSError as error:
                raise OutputError(error.strerror or str(error)) from error

    def close(self) -> None:
        """Let go of the log."""
        with self._lock:
            os.close(self._out)

    def write(self, who: str, what: str, status: int, seconds: float, cases: Sequence[str] = ()) -> None:
        """Add a line, which is in the file when this returns.

        Args:
            what: the kind of request, such as ``POST /questions``.
            cases: ids of the cases that were looked at by name.
        """
        line = {
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "who": who,
            "what": what,
            "status": status,
            "seconds": round(seconds, 3),
            **({"cases": [self.hashed(case_id) for case_id in cases]} if cases else {}),
        }
        with self._lock:
            try:
                os.write(self._out, self._owed + json.dumps(line).encode() + b"\n")
                self._owed = b""
            except OSError:  # a full disk: the next request is refused until it is written
                self._owed += json.dumps(line).encode() + b"\n"

    def hashed(self, case_id: str) -> str:
        """How a case stands in the log: so whoever has the key finds who looked at it."""
        return hmac.new(self._key, case_id.encode(), hashlib.sha256).hexdigest()[:32]
