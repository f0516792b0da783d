"""Published layouts → Cases, one file a source.

A source is a module in this folder with three names; being here registers it:

- ``NAME``: the name the user types;
- ``NEEDS_PATH``: whether it reads a folder that the user names;
- ``def draft(path) -> Iterator[Draft | Skipped]`` (with ``NEEDS_PATH``), or
  ``def draft(path, *, seed) -> Iterator[Draft | Skipped]``: see `medclip.cases.sources.base`.
"""

from medclip.cases.sources.base import Draft, Skipped, Source, load_source, source_names

__all__ = ["Draft", "Skipped", "Source", "load_source", "source_names"]
