"""Windows: which stored values become black and which white.

Source: DICOM PS3.3 C.11.2.1.2 (window centre and width) and C.11.2.1.3 (VOI LUT function).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medclip.modalities.scan.pictures import GreyPicture, stretch

__all__ = ["CT_PRESETS", "Window", "ct_preset", "from_percentiles", "looks_like_hounsfield", "sampled"]

_PERCENTILES = (0.5, 99.5)
"""Of the values, which become black and white where nothing else is known: outliers are clipped. Not tuned."""
_MOST_VALUES = 1 << 23  # that percentiles are taken of: 64 MB

CT_PRESETS = {
    "brain": (40, 80),
    "lung": (-600, 1500),
    "bone": (400, 1800),
    "soft tissue": (40, 400),
}
"""Name → centre and width in Hounsfield units. Radiopaedia, "Windowing (CT)"; soft tissue lies between its abdomen and liver."""
_TOKEN = re.compile(r"[A-Z]+")
_REGIONS = {  # whole words, with the terms of PS3.16 annex L that run several together: EAR stands in HEART, too
    "brain": "HEAD HEADNECK BRAIN SKULL ORBIT ORBITS",
    "lung": "CHEST CHESTABDOMEN CHESTABDPELVIS NECKCHEST NECKCHESTABDOMEN NECKCHESTABDPELV THORAX LUNG LUNGS",
    "bone": "SPINE CSPINE CTSPINE TSPINE TLSPINE LSPINE LSSPINE SSPINE EXTREMITY EXTREMITIES UPEXTREMITY LOWEXTREMITY "
    "UPPEREXTREMITY LOWEREXTREMITY KNEE KNEES ANKLE ANKLES FOOT HAND HANDS WRIST WRISTS ELBOW ELBOWS SHOULDER SHOULDERS "
    "SINUS SINUSES EAR EARS",
}


@dataclass(frozen=True)
class Window:
    """One window, in the units of the modality (Hounsfield for CT)."""

    centre: float
    width: float
    origin: str  # where it comes from: "file", "preset lung", ...
    function: Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"] = "LINEAR"

    @property
    def usable(self) -> bool:
        """Whether it is one: finite, and as wide as its function asks."""
        least = 1.0 if self.function == "LINEAR" else 0.0
        known = np.isfinite(self.centre) and np.isfinite(self.width) and abs(self.centre) < 1e9
        return bool(known and (self.width >= least if self.function == "LINEAR" else self.width > least))

    def apply(self, values: NDArray[np.floating]) -> GreyPicture:
        """Values → 0..255."""
        if self.function == "SIGMOID":
            exponent = np.clip(-4 * (values - self.centre) / self.width, -60, 60)
            return np.asarray(np.round(255 / (1 + np.exp(exponent))), np.uint8)
        if self.function == "LINEAR_EXACT":
            return stretch(values, self.centre - self.width / 2, self.centre + self.width / 2)
        if self.width == 1:
            return np.where(values > self.centre - 0.5, np.uint8(255), np.uint8(0))
        return stretch(values, self.centre - 0.5 - (self.width - 1) / 2, self.centre - 0.5 + (self.width - 1) / 2)

    def __str__(self) -> str:
        return f"C {self.centre:g} W {self.width:g} ({self.origin})"


def ct_preset(region: str) -> Window:
    """The window for a CT of a body region, soft tissue where it is not known.

    Args:
        region: DICOM's BodyPartExamined, of which each word counts as a whole: "C_SPINE" names a spine, "HEART" no ear.
    """
    said = set(_TOKEN.findall(region.upper()))
    found = next((name for name, words in _REGIONS.items() if said & {*words.split()}), "soft tissue")
    centre, width = CT_PRESETS[found]
    return Window(centre, width, f"preset {found}")


def sampled(slices: Sequence[NDArray[np.floating]]) -> NDArray[np.floating]:
    """(n,) the values of all slices; of more than can be looked at in little memory, every so many."""
    step = 1 + sum(values.size for values in slices) // _MOST_VALUES
    return np.concatenate([values.ravel()[::step] for values in slices])


def from_percentiles(slices: Sequence[NDArray[np.floating]]) -> Window:
    """One window over all slices that clips half a percent of their values at either end."""
    values = sampled(slices)
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, _PERCENTILES) if len(finite) else (0.0, 0.0)
    if not high > low and len(finite):
        low, high = float(finite.min()), float(finite.max())
    return Window(float(low + high) / 2, float(high - low), "percentiles", "LINEAR_EXACT")


def looks_like_hounsfield(slices: Sequence[NDArray[np.floating]]) -> bool:
    """Whether values can be Hounsfield units: air near −1000 and something denser than soft tissue."""
    low = min(float(values.min()) for values in slices)
    high = max(float(values.max()) for values in slices)
    return -2100 <= low <= -900 and 150 <= high <= 32000
