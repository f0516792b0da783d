"""The digest of one case: of everything that is stored of it.

An index keeps their sum (Bellare & Micciancio 1997, AdHash), so that a lost, added or altered case is seen without
reading a checksum of the whole file.
"""

import hashlib
from collections.abc import Sequence

__all__ = ["DIGESTS", "CaseDigest"]

_BYTES = 16
DIGESTS = 1 << 8 * _BYTES
"""How many digests there are; sums are modulo it."""


class CaseDigest:
    """Fed in a fixed order: the head, the views, the thumbnails."""

    def __init__(self, head: Sequence[str]) -> None:
        self._hash = hashlib.sha256("\x00".join(head).encode())

    def view(self, kind: str, number: int, labels: str | None, vector: bytes) -> None:
        """Add a view."""
        self._hash.update(f"\x01{kind}\x00{number}\x00{labels}\x00".encode())
        self._hash.update(vector)

    def thumbnail(self, number: int, jpeg: bytes) -> None:
        """Add a thumbnail."""
        self._hash.update(f"\x02{number}\x00".encode())
        self._hash.update(jpeg)

    def value(self) -> bytes:
        """The digest."""
        return self._hash.digest()[:_BYTES]
