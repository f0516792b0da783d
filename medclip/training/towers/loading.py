"""Towers by name, saved beside a model's weights, and built again from there."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from medclip.errors import BundleError, MedclipError
from medclip.files.plain import write_json
from medclip.modalities.scan.crops import CROPS
from medclip.modalities.scan.encoder import has_map
from medclip.training.towers.earlier import rebuild_earlier
from medclip.training.towers.halves import DualEncoder, ImageHalf, Loaded, Recipe, Towers
from medclip.training.towers.names import halves_named
from medclip.training.towers.sources.base import all_sources, source_of

__all__ = ["copy_tokenizer", "guarded", "load_image_half", "load_towers", "quiet", "rebuild_towers", "save_recipes"]

_RECIPES = "towers.json"


def quiet() -> None:
    """Loading is not the place for other libraries' progress bars and reports."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    for name in ("open_clip", "huggingface_hub", "sentence_transformers"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _loaded(name: str) -> Loaded:
    source = source_of(name)
    if source is None:
        forms = ", ".join(form for one in all_sources().values() for form in one.FORMS)
        raise BundleError(f"towers {name!r} are not known: use {forms}; or IMAGE+TEXT of two of them")
    return guarded(source.load, name)


def guarded(load: Callable[[str], Loaded], name: str) -> Loaded:
    """What a source loads under a name; what it stumbles over in somebody else's files becomes one line.

    Raises:
        BundleError, MissingDependencyError: as `load`, or the files are not as such models' files are.
    """
    try:
        return load(name)
    except MedclipError:
        raise
    except (
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        RuntimeError,
        PermissionError,
        FileNotFoundError,
    ) as error:
        raise BundleError(
            f"towers {name}: its files are not as such models' files are; fetch the model again, or choose another "
            f"({type(error).__name__})"
        ) from error


def load_towers(name: str, *, crops: bool = False) -> Towers:
    """The towers of that name, with their pretrained weights; with `crops`, reading the crops of every picture too.

    Args:
        name: of both towers, or ``IMAGE+TEXT`` (`medclip.training.towers.names`).

    Raises:
        BundleError: the name is unknown, the weights cannot be loaded, or one of the two towers is missing.
        MissingDependencyError: a package is not installed.
    """
    quiet()
    first, second = halves_named(name)
    loaded = _loaded(first)
    image, text = _image_of(first, loaded), loaded.text
    if second is not None:
        text = _loaded(second).text
        if text is None:
            raise BundleError(f"{second} reads scans alone; name a text tower, as in --text-tower english")
    if text is None:
        raise BundleError(
            f"{first} reads scans alone; name it by --image-tower, beside the default text tower or --text-tower"
        )
    cropped = {"crops": CROPS, "crops_of_map": has_map(image.module)}
    return Towers(
        name=name,
        model=DualEncoder(image.module, text.module).float().eval(),
        preprocessing=image.preprocessing.model_copy(update=cropped) if crops else image.preprocessing,
        reading=text.reading,
        tokenizer_json=text.tokenizer_json,
        recipes={"image": image.recipe, "text": text.recipe},
        image=image.origin,
        text=text.origin,
    )


def load_image_half(name: str) -> ImageHalf:
    """The image tower alone of a name.

    Raises:
        BundleError: as `load_towers`.
        MissingDependencyError: as `load_towers`.
    """
    quiet()
    first = halves_named(name)[0]
    return _image_of(first, _loaded(first))


def _image_of(name: str, loaded: Loaded) -> ImageHalf:
    if loaded.image is None:
        raise BundleError(
            f"{name} reads texts alone; name it by --text-tower, beside the default image tower or --image-tower"
        )
    return loaded.image


def save_recipes(towers: Towers, folder: Path) -> None:
    """Write what `rebuild_towers` needs beside the weights."""
    write_json(folder / _RECIPES, towers.recipes)


def rebuild_towers(folder: Path) -> nn.Module:
    """The towers of a model folder, with random weights that the caller replaces.

    Raises:
        BundleError: what is written of them is damaged, or of a source that this medclip has not.
    """
    quiet()
    file = folder / _RECIPES
    if not file.is_file():
        return rebuild_earlier(folder)
    try:
        recipes: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return DualEncoder(_rebuilt(recipes["image"]), _rebuilt(recipes["text"])).float().eval()
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise BundleError(f"{file}: is damaged; copy the folder again, or train the model again") from error


def _rebuilt(recipe: Recipe) -> nn.Module:
    source = all_sources().get(recipe["made_by"])
    if source is None:
        raise LookupError(recipe["made_by"])
    return source.rebuild(recipe)


def copy_tokenizer(towers: Towers, folder: Path) -> None:
    """Write ``tokenizer.json``."""
    (folder / "tokenizer.json").write_text(towers.tokenizer_json, encoding="utf-8")
