"""The Hugging Face hub: a local folder by its name, from the cache or fetched; what goes wrong in one line."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from medclip.errors import BundleError

__all__ = ["folder_of", "is_hub_name", "snapshot"]


_PICKLES = ".bin"


def is_hub_name(name: str) -> bool:
    """Whether it may be ``ORG/NAME``."""
    organisation, _, repository = name.partition("/")
    return bool(organisation and repository) and "/" not in repository and not name.startswith((".", "~"))


def _has_safetensors(folder: Path) -> bool:
    return any(folder.glob("*.safetensors"))


def folder_of(name: str, patterns: Sequence[str], whole: Callable[[Path], bool] = _has_safetensors) -> Path:
    """An existing folder as it stands; of ``ORG/NAME`` its copy in the hub's cache, fetched where it is not there.

    Args:
        whole: as of `snapshot`.

    Raises:
        BundleError: there is no such folder or repository, or it is out of reach.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise BundleError(f"{name}: is no folder; name the folder that holds the model")
    if not is_hub_name(name):
        raise BundleError(f"{name}: no such folder; name one, or ORG/NAME of the hub")
    return snapshot(name, patterns, whole)


def snapshot(repository: str, patterns: Sequence[str], whole: Callable[[Path], bool] = _has_safetensors) -> Path:
    """The files of a repository of the hub that match, in the hub's cache; pickles only where it has no safetensors.

    Args:
        whole: whether what is there without them has all weights.

    Raises:
        BundleError: no connection, no such repository, or one whose terms nobody here has accepted.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    safe = [pattern for pattern in patterns if not pattern.endswith(_PICKLES)]
    try:
        found = Path(snapshot_download(repository, allow_patterns=safe))
        if len(safe) < len(patterns) and not whole(found):
            found = Path(snapshot_download(repository, allow_patterns=list(patterns)))
        return found
    except GatedRepoError as error:
        raise BundleError(
            f"{repository}: is gated; accept its terms at https://huggingface.co/{repository}, then run  hf auth login  or "
            "set HF_TOKEN"
        ) from error
    except RepositoryNotFoundError as error:
        raise BundleError(
            f"{repository}: the hub has no such model, or shows it only to who has a token; check the name, or run  hf auth login"
        ) from error
    except HFValidationError as error:
        raise BundleError(f"{repository}: is no name of the hub; give ORG/NAME") from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
        why = "HF_HUB_OFFLINE is set" if offline else "there is no connection to the hub"
        raise BundleError(
            f"{repository}: is not in the cache, and {why}; fetch it where there is a connection, with  medclip model fetch  "
            f"and bring the folder"
        ) from error
    except (HfHubHTTPError, OSError) as error:
        raise BundleError(
            f"{repository}: cannot be fetched from the hub ({type(error).__name__}); try again, or bring a folder that  "
            "medclip model fetch  made elsewhere"
        ) from error
