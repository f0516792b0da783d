"""medclip: similar-case retrieval over scans and reports, for radiology research and teaching.

Decision support for research and teaching; not a medical device.
"""

import os

__all__ = ["DISCLAIMER", "__version__"]

__version__ = "0.1.0"  # the package's, which setuptools reads here

# What reads archives of patients reports to nobody. ONNX Runtime (since 1.29), Ray and the Hugging Face libraries tell their
# makers how they are used unless this stands before they are loaded. pydantic hands all that it validates to plugins of
# whatever is installed beside it (Logfire sends it on), and looks through every installed package for them.
os.environ.update(
    {"ORT_DISABLE_TELEMETRY": "1", "RAY_USAGE_STATS_ENABLED": "0", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1",
     "PYDANTIC_DISABLE_PLUGINS": "__all__"}
)  # fmt: skip

DISCLAIMER = "For research and teaching only. Not a medical device; not for diagnosis or treatment decisions."
