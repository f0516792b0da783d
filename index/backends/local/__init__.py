"""Cases in a folder: the truth in SQLite, searched through FAISS."""

from medclip.index.backends.local.backend import LocalBackend

__all__ = ["LocalBackend"]
