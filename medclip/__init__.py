"""medclip: similar-case retrieval over scans and reports, for radiology research and teaching.

Decision support for research and teaching; not a medical device.
"""

from importlib.metadata import PackageNotFoundError, version

__all__ = ["DISCLAIMER", "__version__"]

try:
    __version__ = version("medclip-assistant")
except PackageNotFoundError:  # imported from a source folder that is not installed
    __version__ = "0+unknown"

DISCLAIMER = "For research and teaching only. Not a medical device; not for diagnosis or treatment decisions."
