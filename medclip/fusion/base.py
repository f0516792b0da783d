"""What a trained fuser must give, and how it is found by name.

A fuser is a module in ``networks/`` with a class ``Network(nn.Module)`` that takes a `FuserShape`; being here registers
it under the module's name. ``sum`` is the fuser without a network.
"""

import importlib
import pkgutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medclip.errors import BundleError
from medclip.fusion.composition import MODALITIES

if TYPE_CHECKING:
    from torch import nn

__all__ = ["FuserShape", "build_network", "fuser_names", "require_fuser"]


@dataclass(frozen=True)
class FuserShape:
    """Widths of a fuser's network."""

    token: int  # of a modality's vector
    hidden: int
    joint: int  # of the fused vector
    drop: float

    @property
    def tokens(self) -> int:
        """How many modalities there are."""
        return len(MODALITIES)


def fuser_names() -> list[str]:
    """Every fuser, the simplest first."""
    package = importlib.import_module("medclip.fusion.networks")
    return ["sum", *sorted(name for _, name, _ in pkgutil.iter_modules(package.__path__))]


def require_fuser(name: str) -> None:
    """Refuse a name that is no fuser's.

    Raises:
        BundleError: there is no such fuser.
    """
    if name not in fuser_names():
        raise BundleError(f"fuser {name!r} is not known; choose one of: {', '.join(fuser_names())}")


def build_network(name: str, shape: FuserShape) -> "nn.Module | None":
    """An untrained network: (n, tokens, token) vectors and (n, tokens) 1 where present → (n, joint) unit vectors.

    None for ``sum``, which has none. What is absent must not change the output, whatever its vector holds.

    Raises:
        BundleError: there is no such fuser.
    """
    require_fuser(name)
    if name == "sum":
        return None
    network: nn.Module = importlib.import_module(f"medclip.fusion.networks.{name}").Network(shape)
    return network
