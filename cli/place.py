"""Where an index is kept and what searching it may cost: options that several commands share."""

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from medclip.archive.build import Place

__all__ = ["BACKEND", "FILES", "LATENCY", "MEMORY", "RECALL", "URI", "place_of"]

BACKEND = typer.Option(help="faiss (a folder on this machine) or milvus.")
URI = typer.Option(help="Of the Milvus server, or a file for Milvus Lite: ./cases.db")
FILES = typer.Option(help="Folder or object store (fsspec URI) for thumbnails and documents; milvus only.")
MEMORY = typer.Option(help="Memory that the search structure may take: 4GB. Half of the machine's by default.")
LATENCY = typer.Option(help="Time that a search may take: 5ms. 10ms by default.")
RECALL = typer.Option(min=0.5, max=1.0, help="Share of the 10 nearest that must be found.")


def place_of(
    backend: str, uri: str | None, files: str | None, memory: str | None, latency: str | None, recall: float
) -> "Place":
    """The options of a backend as one object.

    Raises:
        OptionError: an amount cannot be read, or an option is not of this backend.
    """
    from medclip.archive.build import Place
    from medclip.cli.quantities import bytes_of, seconds_of
    from medclip.errors import OptionError
    from medclip.index import Demands

    if backend == "faiss" and (uri or files):
        raise OptionError("--uri and --files are of --backend milvus; faiss keeps everything in the index folder")
    return Place(backend, uri, files, Demands(bytes_of(memory), seconds_of(latency), recall))
