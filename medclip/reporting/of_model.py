"""What a model folder says of itself."""

from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

from medclip import DISCLAIMER
from medclip.bundle.layout import Layout, Manifest, ServingManifest, read_model
from medclip.bundle.verify import verify_bundle
from medclip.errors import BundleError
from medclip.files.plain import unreadable
from medclip.files.sealed import read_json
from medclip.reporting.known import Known, listed

__all__ = ["known_of_model"]

_REMEDY = "copy the folder again, or train the model again"
Facts = dict[str, Any]


def _cases(facts: Facts, name: str, role: str) -> str:
    part = facts[name]
    made = f", {part['synthetic']} of them synthetic" if part["synthetic"] else ""
    return (
        f"{role}: {part['cases']} cases{made}, {part['patients']} patients, {part['scans']} scans; "
        f"sources: {', '.join(part['sources'])}."
    )


def _training(facts: Facts) -> str:
    fuser = facts["fuser"]
    own = f" Fuser {fuser['name']}" + (f" ({listed(fuser)})." if fuser["name"] != "sum" else ", which is not trained.")
    return (
        f"Contrastive alignment of scans with report texts, {len(facts['epochs'])} epochs on {facts['device']}; settings: "
        f"{listed(facts['settings'])} (medclip/training/settings.py says what each is).{own}"
    )


def _tuning(facts: Facts) -> str:
    tuned, taught = facts["tuning"], facts.get("distilled")
    if taught and not taught["best"]:
        return f"The towers are frozen: learning from {taught['teacher']['whose']} brought the image tower no nearer to it."
    if taught:
        return f"The image tower learnt on the training scans, without labels or texts, what {taught['teacher']['whose']} gives."
    return f"The towers were tuned, too: {listed(tuned)}." if tuned else "The towers were frozen."


def _measurements(facts: Facts) -> str:
    units = facts["measurement_units"]
    known = ", ".join(f"{name} ({units[name] or 1})" for name in facts["measurements"])
    return f"Measurements that the model knows, with their UCUM units: {known or 'none'}."


def _left_out(facts: Facts) -> str:
    strange = facts["measurements_left_out"]
    return f"Measurements left out since their unit does not fit: {'; '.join(strange) or 'none'}."


def _dev_figures(facts: Facts) -> str:
    measured = ", ".join(f"{name} {value:.3g}" for name, value in facts["figures"].items())
    return f"On the dev cases (which may have chosen the epoch): {measured or 'nothing could be measured'}."


def _synthetic(facts: Facts) -> str | None:
    made, cases = facts["train"]["synthetic"], facts["train"]["cases"]
    return f"{made} of {cases} training cases are synthetic: of real patients they say nothing." if made else None


_TRAINING: dict[str, Callable[[Facts], str | None]] = {
    "trained_on": lambda facts: _cases(facts, "train", "Trained on"),
    "held_out": lambda facts: _cases(facts, "dev", "Held out (dev)"),
    "towers": lambda facts: (
        f"Towers: {facts['origin']}; the projection begins at random, by seed {facts['settings']['seed']}."
    ),
    "training": _training,
    "tuning": _tuning,
    "chosen": lambda facts: (
        f"Of {len(facts['epochs'])} epochs, number {facts['best_epoch']} was kept, chosen by {facts['chosen_by']}."
    ),
    "measurements": _measurements,
    "left_out": _left_out,
    "dev_figures": _dev_figures,
    "synthetic": _synthetic,
    "versions": lambda facts: f"Trained with {listed(facts['versions'])}.",
}
"""What ``training.json`` tells. A file of an earlier medclip lacks some of it; that is then left to people."""


def _of_training(facts: Facts) -> dict[str, Known]:
    known = {}
    for name, tell in _TRAINING.items():
        try:
            told = tell(facts)
        except KeyError:
            continue
        if told is not None:
            known[name] = Known(told, "MODEL/training.json")
    return known


def known_of_model(folder: Path) -> tuple[dict[str, Known], str]:
    """What is known of a model, by name, and its fingerprint; the folder is verified first.

    Raises:
        BundleError: it is no model folder, or is damaged.
    """
    verified = verify_bundle(folder)
    layout = Layout(folder)
    try:
        facts = read_json(layout.training)
        known = _of_training(facts)
    except OSError as error:
        raise BundleError(f"{layout.training}: {unreadable(error)}; {_REMEDY}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise BundleError(f"{layout.training}: is damaged; {_REMEDY} ({type(error).__name__})") from error
    bundle = read_model(layout.manifest, Manifest, _REMEDY)
    serving = read_model(layout.serving.manifest, ServingManifest, _REMEDY)
    numbers = sum(prod(tensor.shape) for tensor in bundle.tensors.values())
    how, reading = serving.preprocessing, serving.reading
    crops = f", with {how.crops} × {how.crops} overlapping crops" if how.crops else ""
    scripts = "letters of any script" if reading.scripts is None else f"letters of {', '.join(reading.scripts).lower()}"
    known |= {
        "kind": Known(
            f"Deep learning: a dual encoder (towers {bundle.towers}, {'tuned' if serving.tuned else 'frozen'}) that gives "
            f"scans and texts unit vectors of {serving.base} numbers in one space, {serving.aligned} of them aligned by "
            f"contrastive training; the parts of a case are fused by {serving.fuser}. Similar cases are found by cosine.",
            "MODEL/serving/serving.json, MODEL/bundle.json",
        ),
        "preprocessing": Known(
            f"Scans in grey, {how.resize} to {how.size} × {how.size} pixels ({how.interpolation}){crops}; channels "
            f"standardised by mean {how.mean}, standard deviation {how.std}.",
            "MODEL/serving/serving.json",
        ),
        "text_reading": Known(
            f"Texts in windows of {reading.context_length} tokens, pooled by their share of tokens; {scripts} are read.",
            "MODEL/serving/serving.json",
        ),
        "identity": Known(
            f"A model folder of format {bundle.format} with {len(bundle.tensors)} tensors of {numbers:,} numbers in "
            f"safetensors, ONNX graphs, tokenizer and card; fingerprint {verified.fingerprint}. Verified now: "
            f"{verified.files} files by checksum, reference outputs recomputed by onnxruntime (least cosine "
            f"{verified.onnx_cosine:.6f}).",
            "MODEL/bundle.json",
        ),
    }
    card = layout.card.read_text(encoding="utf-8")  # its checksum was compared
    if "No patient stands in both." in card:
        known["apart"] = Known("No patient stands in both the training and the dev cases.", "MODEL/README.md")
    if "## Intended use" in card:
        intended = card.partition("## Intended use")[2].partition("\n## ")[0]
        known["intended"] = Known(
            f"{DISCLAIMER} The card says: {' '.join(intended.replace('`', '').split())}", "MODEL/README.md"
        )
    return known, verified.fingerprint
