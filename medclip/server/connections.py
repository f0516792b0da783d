"""Connections that ask for nothing are closed, so that they keep nobody else out."""

import asyncio
from typing import cast

from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["Impatient"]

_PATIENCE = 15.0  # seconds until a new connection's first request has begun, headers and all
_MOST = 1_000  # connections; the next one is closed at once


class Impatient(H11Protocol):
    """HTTP/1.1 as uvicorn speaks it, with an end to waiting: it has none before a connection's first request."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait."""
        super().connection_made(transport)
        if len(self.server_state.connections) > _MOST:
            transport.close()
            return
        self._deadline = self.loop.call_later(_PATIENCE, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        if (deadline := getattr(self, "_deadline", None)) is not None:
            deadline.cancel()
        super().connection_lost(exc)

    def _give_up(self) -> None:
        if self.cycle is None:
            cast(asyncio.Transport, self.transport).close()
