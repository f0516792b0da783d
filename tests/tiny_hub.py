"""Small models, which nobody has trained, in the very layouts in which the hub has the large ones."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

__all__ = [
    "LAYOUTS",
    "as_biomedclip",
    "as_clip",
    "as_medsiglip",
    "as_mpnet",
    "as_open_clip_siglip",
    "as_rad_dino",
    "as_siglip2",
]

_SAID = """axial ct of the chest shows a nodule no effusion year woman s mri t2 weighted flair restricted diffusion dwi with cm x
mm left right lung lobe upper lower normal liver kidney mass lesion fracture fever cough pain and is are patient"""
WORDS = tuple(_SAID.split())


def _word_pieces(folder: Path) -> None:
    """A lower-case WordPiece tokenizer, as BERT's."""
    from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
    from tokenizers.models import WordPiece

    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,;:()'-%/"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{one}" for one in letters), *WORDS]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    built = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    built.normalizer = normalizers.BertNormalizer(lowercase=True)
    built.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    built.decoder = decoders.WordPiece()
    built.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    built.save(str(folder / "tokenizer.json"))
    special = {name: f"[{word}]" for name, word in (
        ("pad_token", "PAD"), ("unk_token", "UNK"), ("cls_token", "CLS"), ("sep_token", "SEP"), ("mask_token", "MASK")
    )}  # fmt: skip
    _json(folder / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "do_lower_case": True, **special})
    _json(folder / "special_tokens_map.json", special)
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")


def _json(file: Path, what: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(what, indent=2), encoding="utf-8")


def _bert(vocabulary: int = 200) -> dict[str, Any]:
    return {
        "architectures": ["BertModel"], "model_type": "bert", "vocab_size": vocabulary, "hidden_size": 32,
        "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "max_position_embeddings": 512,
        "pad_token_id": 0, "type_vocab_size": 2,
    }  # fmt: skip


def as_biomedclip(
    folder: Path,
    *,
    localised: bool = True,
    pickled: bool = False,
    trunk: str = "vit_tiny_patch16_224",
    width: int = 24,
    text: Mapping[str, Any] | None = None,
) -> None:
    """BiomedCLIP's: open_clip's configuration, a ViT of timm, a BERT whose own configuration is elsewhere on the hub.

    Args:
        trunk: the ViT.
        width: of both towers' embeddings.
        text: other fields of the BERT's configuration.
        localised: that configuration lies in the folder, as ``medclip model fetch`` puts it.
        pickled: the weights are where Microsoft's are, in ``open_clip_pytorch_model.bin``.
    """
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    _word_pieces(folder)
    config = {**_bert(), **(text or {})}
    _json(folder / "text_config" / "config.json", config)
    model_cfg = {
        "embed_dim": width,
        "vision_cfg": {
            "timm_model_name": trunk, "timm_model_pretrained": False, "timm_pool": "",
            "timm_proj": "linear", "image_size": 224,
        },
        "text_cfg": {
            "hf_model_name": str(folder / "text_config"), "hf_model_pretrained": False,
            "hf_tokenizer_name": "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract",
            "hf_pooler_type": "cls_last_hidden_state_pooler", "hf_proj_type": "mlp", "context_length": 256,
        },
    }  # fmt: skip
    torch.manual_seed(0)
    network = open_clip.CustomTextCLIP(**json.loads(json.dumps(model_cfg)))
    model_cfg["text_cfg"]["hf_model_name"] = "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract"
    mean, std = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
    _json(folder / "open_clip_config.json", {"model_cfg": model_cfg, "preprocess_cfg": {"mean": mean, "std": std}})
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    if pickled:
        torch.save(tensors, folder / "open_clip_pytorch_model.bin")
    else:
        save_file(tensors, folder / "open_clip_model.safetensors")
    if not localised:
        (folder / "text_config" / "config.json").unlink()
        (folder / "text_config").rmdir()
    (folder / "README.md").write_text(
        "---\nlanguage: en\nlicense: mit\n---\n# Tiny\n\n## Intended use\n\nFor **tests** of layouts\nalone.\n\nMore.\n",
        encoding="utf-8",
    )


def as_open_clip_siglip(folder: Path) -> None:
    """SigLIP's in open_clip's layout: its own text tower, which is shown its padding, and a tokenizer of Hugging Face."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    _word_pieces(folder)
    vision = {"image_size": 64, "layers": 2, "width": 32, "patch_size": 16, "head_width": 16}
    text = {
        "context_length": 64, "vocab_size": 200, "width": 32, "heads": 2, "layers": 2, "no_causal_mask": True,
        "proj_bias": True, "pool_type": "last", "hf_tokenizer_name": "timm/ViT-B-16-SigLIP",
        "tokenizer_kwargs": {"clean": "canonicalize"},
    }  # fmt: skip
    model_cfg = {"embed_dim": 32, "custom_text": True, "init_logit_bias": -10, "vision_cfg": vision, "text_cfg": text}
    torch.manual_seed(0)
    built = {key: value for key, value in model_cfg.items() if key != "custom_text"}
    network = open_clip.CustomTextCLIP(**json.loads(json.dumps(built)))
    half = [0.5, 0.5, 0.5]
    preprocess = {"mean": half, "std": half, "interpolation": "bicubic", "resize_mode": "squash"}
    _json(folder / "open_clip_config.json", {"model_cfg": model_cfg, "preprocess_cfg": preprocess})
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_file(tensors, folder / "open_clip_model.safetensors")


def _sentence_pieces(folder: Path) -> None:
    """SigLIP's tokenizer: a unigram vocabulary of sentencepiece, with no ``tokenizer.json``."""
    from transformers.convert_slow_tokenizer import import_protobuf

    model = import_protobuf().ModelProto()
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    words = [(f"▁{word}", -2.0 - 0.01 * number) for number, word in enumerate(dict.fromkeys(WORDS))]
    pieces = [("<unk>", 0.0, 2), ("</s>", 0.0, 3), *((piece, score, 1) for piece, score in words)]
    pieces += [(letter, -8.0, 1) for letter in letters] + [("▁", -6.0, 1)]
    for piece, score, kind in pieces:
        model.pieces.add(piece=piece, score=score, type=kind)
    model.trainer_spec.model_type = 1
    model.trainer_spec.unk_id, model.trainer_spec.eos_id = 0, 1
    model.trainer_spec.bos_id, model.trainer_spec.pad_id = -1, -1
    model.normalizer_spec.add_dummy_prefix, model.normalizer_spec.remove_extra_whitespaces = True, True
    model.normalizer_spec.escape_whitespaces = True
    (folder / "spiece.model").write_bytes(model.SerializeToString())
    _json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "SiglipTokenizer", "do_lower_case": True, "model_max_length": 64, "eos_token": "</s>",
            "pad_token": "</s>", "unk_token": "<unk>", "model_input_names": ["input_ids"],
        },
    )  # fmt: skip
    _json(folder / "special_tokens_map.json", {"eos_token": "</s>", "pad_token": "</s>", "unk_token": "<unk>"})


_SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


def _siglip(vocabulary: int, side: int, patch: int, size: Mapping[str, int] = _SMALL) -> Any:
    import torch
    from transformers import SiglipConfig, SiglipModel

    torch.manual_seed(0)
    width = size["hidden_size"]
    return SiglipModel(
        SiglipConfig(
            text_config={**size, "vocab_size": vocabulary, "max_position_embeddings": 64, "projection_size": width},
            vision_config={**size, "image_size": side, "patch_size": patch},
        )
    )


def _siglip_picture(folder: Path, side: int) -> None:
    _json(
        folder / "preprocessor_config.json",
        {
            "do_convert_rgb": None, "do_normalize": True, "do_rescale": True, "do_resize": True,
            "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "image_processor_type": "SiglipImageProcessor",
            "resample": 2, "rescale_factor": 0.00392156862745098, "size": {"height": side, "width": side},
        },
    )  # fmt: skip


def as_medsiglip(
    folder: Path, *, size: Mapping[str, int] = _SMALL, patch: int = 56, vocabulary: int = len(set(WORDS)) + 39
) -> None:
    """MedSigLIP's: SigLIP of transformers at 448 pixels and 64 tokens, its licence with terms of its own."""
    folder.mkdir()
    _sentence_pieces(folder)
    _siglip(vocabulary, 448, patch, size).save_pretrained(folder)
    _siglip_picture(folder, 448)
    (folder / "README.md").write_text(
        "---\nlicense: other\nlicense_name: health-ai-developer-foundations\n"
        "license_link: https://developers.google.com/health-ai-developer-foundations/terms\n---\n# Tiny\n",
        encoding="utf-8",
    )


def as_siglip2(folder: Path) -> None:
    """SigLIP 2's of one resolution: the same model with Gemma's tokenizer, which leaves letters as they are."""
    from tokenizers import Tokenizer, decoders, normalizers, processors
    from tokenizers.models import BPE

    folder.mkdir()
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,;:()'-%/▁"
    vocabulary = {
        piece: number for number, piece in enumerate(["<pad>", "<eos>", "<bos>", "<unk>", *letters, "▁c", "th"])
    }
    built = Tokenizer(BPE(vocabulary, [("▁", "c"), ("t", "h")], unk_token="<unk>"))
    built.normalizer = normalizers.Replace(" ", "▁")
    built.decoder = decoders.Replace("▁", " ")
    built.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    built.add_special_tokens(["<pad>", "<eos>", "<bos>", "<unk>"])
    built.save(str(folder / "tokenizer.json"))
    special = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
    _json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "GemmaTokenizer",
            "add_bos_token": False,
            "add_eos_token": True,
            "padding_side": "right",
            **special,
        },
    )
    _json(folder / "special_tokens_map.json", special)
    _siglip(len(vocabulary), 64, 16).save_pretrained(folder)
    _siglip_picture(folder, 64)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Tiny\n", encoding="utf-8")


_SMALL_DINO = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "mlp_ratio": 2}


def as_rad_dino(folder: Path, *, size: Mapping[str, int] = _SMALL_DINO, patch: int = 74) -> None:
    """RAD-DINO's: a DINOv2 of transformers at 518 pixels, which reads no text."""
    import torch
    from transformers import Dinov2Config, Dinov2Model

    folder.mkdir()
    torch.manual_seed(0)
    Dinov2Model(Dinov2Config(image_size=518, patch_size=patch, **size)).save_pretrained(folder)
    _json(
        folder / "preprocessor_config.json",
        {
            "crop_size": {"height": 518, "width": 518}, "do_center_crop": True, "do_convert_rgb": True,
            "do_normalize": True, "do_rescale": True, "do_resize": True, "image_mean": [0.5307, 0.5307, 0.5307],
            "image_processor_type": "BitImageProcessor", "image_std": [0.2583, 0.2583, 0.2583], "resample": 3,
            "rescale_factor": 0.00392156862745098, "size": {"shortest_edge": 518},
        },
    )  # fmt: skip
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Tiny\n", encoding="utf-8")


def as_clip(folder: Path) -> None:
    """CLIP's of transformers: byte pairs, an end sign that pads, a text's features at its first end sign."""
    import torch
    from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
    from tokenizers.models import BPE
    from transformers import CLIPConfig, CLIPModel

    folder.mkdir()
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,;:()'-%/"
    pieces = [*letters, *(f"{one}</w>" for one in letters), "th", "the</w>", "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    merges = [("t", "h"), ("th", "e</w>")]
    built = Tokenizer(BPE(vocabulary, merges, end_of_word_suffix="</w>", unk_token="<|endoftext|>", fuse_unk=False))
    built.normalizer = normalizers.Lowercase()
    built.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    start, end = vocabulary["<|startoftext|>"], vocabulary["<|endoftext|>"]
    built.post_processor = processors.RobertaProcessing(
        ("<|endoftext|>", end), ("<|startoftext|>", start), trim_offsets=False, add_prefix_space=False
    )
    built.add_special_tokens(["<|startoftext|>", "<|endoftext|>"])
    built.save(str(folder / "tokenizer.json"))
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    _json(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 77, **special},
    )
    torch.manual_seed(0)
    ids = {"vocab_size": len(vocabulary), "bos_token_id": start, "eos_token_id": end, "pad_token_id": end}
    CLIPModel(
        CLIPConfig(
            text_config={**_SMALL, **ids, "max_position_embeddings": 77, "projection_dim": 24},
            vision_config={**_SMALL, "image_size": 64, "patch_size": 16, "projection_dim": 24},
            projection_dim=24,
        )
    ).save_pretrained(folder)
    _json(
        folder / "preprocessor_config.json",
        {
            "crop_size": 64, "do_center_crop": True, "do_normalize": True, "do_resize": True,
            "feature_extractor_type": "CLIPFeatureExtractor", "image_mean": [0.48145466, 0.4578275, 0.40821073],
            "image_std": [0.26862954, 0.26130258, 0.27577711], "resample": 3, "size": 64,
        },
    )  # fmt: skip


def as_mpnet(folder: Path) -> None:
    """all-mpnet-base-v2's: sentence-transformers' layout, as a folder."""
    import torch
    from transformers import BertConfig, BertModel

    folder.mkdir()
    _word_pieces(folder)
    torch.manual_seed(0)
    BertModel(BertConfig(**_bert()), add_pooling_layer=False).save_pretrained(folder)
    kinds = ("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")
    _json(
        folder / "modules.json",
        [
            {"idx": idx, "name": str(idx), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for idx, (path, kind) in enumerate(kinds)
        ],
    )
    _json(folder / "sentence_bert_config.json", {"max_seq_length": 64, "do_lower_case": False})
    modes = {f"pooling_mode_{mode}": mode == "mean_tokens" for mode in ("cls_token", "mean_tokens", "max_tokens")}
    _json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": 32, **modes})
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Tiny\n", encoding="utf-8")


LAYOUTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "biomedclip": (as_biomedclip, "local-dir:{}"),
    "medsiglip": (as_medsiglip, "transformers:{}"),
    "siglip2": (as_siglip2, "transformers:{}"),
    "clip": (as_clip, "transformers:{}"),
    "rad-dino": (as_rad_dino, "transformers:{}+default"),
    "mpnet": (as_mpnet, "default+sentence-transformers:{}"),
}
"""Layout → what makes one, and how such a folder is named as towers."""
