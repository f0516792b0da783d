"""The two towers of a model, by name, with everything that has to travel with them.

`load_towers` takes what ``--towers`` takes: a name of `sources`, or two of them as ``IMAGE+TEXT``.
"""

from medclip.training.towers.halves import Towers
from medclip.training.towers.loading import copy_tokenizer, load_image_half, load_towers, rebuild_towers, save_recipes
from medclip.training.towers.names import DEFAULT, named

__all__ = [
    "DEFAULT",
    "Towers",
    "copy_tokenizer",
    "load_image_half",
    "load_towers",
    "named",
    "rebuild_towers",
    "save_recipes",
]
