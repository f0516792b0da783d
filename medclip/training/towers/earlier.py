"""Models of medclip 0.1: both towers in one open_clip model, its configuration in the hub's file."""

import json
from pathlib import Path
from typing import cast

from torch import nn

__all__ = ["rebuild_earlier"]

_CONFIG = "open_clip_config.json"
_ENCODER = "medclip_text_encoder"  # in it: a text tower that open_clip does not know
_TEXT_CONFIG = "text_config"  # folder with the Hugging Face config of a text tower


def rebuild_earlier(folder: Path) -> nn.Module:
    """The open_clip model of such a model folder, with random weights that the caller replaces."""
    import open_clip

    config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))["model_cfg"]
    text = dict(config["text_cfg"])
    if (folder / _TEXT_CONFIG).is_dir():
        text |= {"hf_model_name": str(folder / _TEXT_CONFIG), "hf_model_pretrained": False}
    vision = dict(config["vision_cfg"])
    if "timm_model_name" in vision:
        vision["timm_model_pretrained"] = False
    custom = config.get("custom_text", False) or "hf_model_name" in text
    kind = open_clip.CustomTextCLIP if custom else open_clip.CLIP
    rest = {k: v for k, v in config.items() if k not in ("vision_cfg", "text_cfg", "custom_text", _ENCODER)}
    model = kind(vision_cfg=vision, text_cfg=text, **rest)
    if config.get(_ENCODER) == "multilingual":
        from medclip.modalities.text.use import SentenceEncoder

        model.text = SentenceEncoder()
    return cast(nn.Module, model.eval())
