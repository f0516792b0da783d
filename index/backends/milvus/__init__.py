"""Cases in a Milvus collection."""

from medclip.index.backends.milvus.backend import MilvusBackend

__all__ = ["MilvusBackend"]
