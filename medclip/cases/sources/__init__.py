"""Published layouts → Cases, one file a source.

A source is a module in this folder, or in one inside it, with four names; being here registers it:

- ``NAME``: the name the user types;
- ``NEEDS_PATH``: whether it reads a folder that the user names;
- ``OPTIONS``: the names of the `Options` that it heeds;
- ``def draft(path, options) -> Iterator[Item]``: see `medclip.cases.sources.base`.
"""

from medclip.cases.sources.base import Draft, Item, Options, Part, Remark, Skipped, Source, load_source, source_names

__all__ = ["Draft", "Item", "Options", "Part", "Remark", "Skipped", "Source", "load_source", "source_names"]
