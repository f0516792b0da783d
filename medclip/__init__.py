"""medclip: similar-case retrieval over scans and reports, for radiology research and teaching.

Decision support for research and teaching; not a medical device.
"""

import os
from importlib.metadata import PackageNotFoundError, version

__all__ = ["DISCLAIMER", "__version__"]

# What reads archives of patients reports to nobody. ONNX Runtime (since 1.29), Ray and the Hugging Face libraries tell their
# makers how they are used unless this stands before they are loaded.
os.environ.update(
    {"ORT_DISABLE_TELEMETRY": "1", "RAY_USAGE_STATS_ENABLED": "0", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}
)

try:
    __version__ = version("medclip-assistant")
except PackageNotFoundError:  # imported from a source folder that is not installed
    __version__ = "0+unknown"

DISCLAIMER = "For research and teaching only. Not a medical device; not for diagnosis or treatment decisions."
