"""The client of a Milvus server or file, and its errors as lines."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medclip.errors import ArchiveError, MissingDependencyError

__all__ = ["absolute", "connected", "named"]

_PATIENCE = 20  # seconds that a server may take to answer


def connected(uri: str) -> Any:
    """A client.

    Raises:
        MissingDependencyError: pymilvus is not installed.
        ArchiveError: the server cannot be reached.
    """
    try:
        from pymilvus import MilvusClient
    except ImportError as error:
        raise MissingDependencyError("pymilvus is not installed", "milvus") from error
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
    with named(uri):
        return MilvusClient(uri, timeout=_PATIENCE)


@contextmanager
def named(uri: str) -> Iterator[None]:
    """Turn Milvus's errors into one line."""
    import grpc
    from pymilvus.exceptions import MilvusException

    try:
        yield
    except (MilvusException, grpc.RpcError, ConnectionError, ValueError) as error:
        said = next(iter(str(error).splitlines()), type(error).__name__)[:200]
        raise ArchiveError(
            f"{uri}: Milvus cannot be reached or refused ({said}); the index is as it was before. Start it, or check --uri"
        ) from error


def absolute(uri: str) -> str:
    """The place of a database or of files, whatever folder it is asked from."""
    return uri if "://" in uri else str(Path(uri).resolve())
