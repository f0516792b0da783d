"""Who may enter: a token for programs, a one-time link and a cookie for browsers."""

import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from threading import Lock

from medclip.errors import OptionError
from medclip.files.outputs import new_file
from medclip.files.plain import read_regular

__all__ = ["Entrance", "read_token"]

_LEAST = 32  # characters of a token
_MOST = 4096


def read_token(file: Path) -> str:
    """The token in a file that its owner alone may read; a missing file is made, with a random one.

    Raises:
        OptionError: it is no such file, or its token is too short.
        OutputError: it is missing and cannot be made.
    """
    if not file.exists():
        with new_file(file) as made:
            made.touch(0o600)
            made.write_text(secrets.token_urlsafe(32) + "\n")
    try:
        mode = file.stat().st_mode
        token = read_regular(file, _MOST).decode("ascii").strip()
    except (OSError, ValueError) as error:
        raise OptionError(f"{file}: cannot be read as a token; write at least {_LEAST} ASCII characters") from error
    if mode & 0o077:
        raise OptionError(f"{file}: others than its owner may read it; run  chmod 600 {file}")
    if len(token) < _LEAST or any(not ch.isprintable() or ch.isspace() for ch in token):
        raise OptionError(f"{file}: its token needs at least {_LEAST} ASCII characters, without spaces")
    return token


class Entrance:
    """Tokens are kept as hashes and compared in constant time."""

    def __init__(self, token: str | None, sessions: int) -> None:
        """Args:
        token: what programs send; None: none may ask, but browsers that were given a link.
        sessions: how many browsers may have entered; the one that entered first has to enter again beyond that.
        """
        self._token = None if token is None else _hash(token)
        self._links: set[bytes] = set()
        self._sessions: OrderedDict[bytes, None] = OrderedDict()
        self._most, self._lock = sessions, Lock()

    def link(self) -> str:
        """A key that lets one browser in, once."""
        key = secrets.token_urlsafe(24)
        with self._lock:
            self._links.add(_hash(key))
        return key

    def enter(self, key: str) -> str | None:
        """The cookie for a browser that comes by a link, or with the token; None where neither fits."""
        given = _hash(key)
        with self._lock:
            by_link = [one for one in self._links if hmac.compare_digest(one, given)]
            self._links.difference_update(by_link)
            if not by_link and not self._is_token(given):
                return None
            cookie = secrets.token_urlsafe(32)
            self._sessions[_hash(cookie)] = None
            while len(self._sessions) > self._most:
                self._sessions.popitem(last=False)
        return cookie

    def _is_token(self, given: bytes) -> bool:
        return self._token is not None and hmac.compare_digest(self._token, given)

    def who(self, headers: Mapping[str, str], cookie: str) -> str | None:
        """Whose request this is, as a name that tells nothing; None where it may not enter."""
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            given = _hash(bearer.strip())
            return f"token-{given.hex()[:12]}" if self._is_token(given) else None
        given = _hash(cookie)
        with self._lock:
            fits = sum(hmac.compare_digest(one, given) for one in self._sessions)  # all of them, whichever fits
        return f"browser-{given.hex()[:12]}" if fits else None


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
