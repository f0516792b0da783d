"""The model card: what a model was trained on, how, and what it reached."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from medclip import DISCLAIMER
from medclip.bundle.layout import Layout, Weights
from medclip.cases.case import Case
from medclip.cases.splits import Fold
from medclip.files.plain import write_json
from medclip.modalities.measurements.shared_units import left_out, units_of
from medclip.training.choosing import Choice
from medclip.training.distil import Distilled
from medclip.training.joint import TrainedFuser
from medclip.training.orientation import Told
from medclip.training.projection import Shape
from medclip.training.settings import Settings, TuneSettings
from medclip.training.towers import Towers
from medclip.training.towers.halves import Origin
from medclip.training.towers.licence import restriction
from medclip.training.trainer import Epoch

__all__ = ["Provenance", "weights_of", "write_card"]


@dataclass(frozen=True)
class Provenance:
    """Where a model comes from."""

    fold: Fold
    settings: Settings
    tune: TuneSettings | None
    distilled: Distilled | None  # what the image tower learnt from another
    device: str
    epochs: list[Epoch]
    best: int
    choice: Choice  # what chose `best`
    figures: dict[str, float]
    told: Told | None  # how well it is told how a scan lies, where there is a head and a dev scan

    @property
    def teacher(self) -> Origin | None:
        """Of whom the image tower learnt something."""
        return self.distilled.teacher if self.distilled is not None and self.distilled.learnt else None


def write_card(layout: Layout, towers: Towers, provenance: Provenance, shape: Shape, fused: TrainedFuser) -> None:
    """Write ``training.json`` and ``README.md`` of a model folder."""
    fold = provenance.fold
    strange = left_out(fold.train, units_of(fold.train))
    facts: dict[str, Any] = {
        "towers": towers.name,
        "origin": towers.origin,
        "image_tower": asdict(towers.image),
        "text_tower": asdict(towers.text),
        "restrictions": sorted({one.mind for one in weights_of(towers, provenance) if one.mind}),
        "shape": asdict(shape),
        "fuser": asdict(fused.settings),
        "fuser_shape": asdict(fused.shape),
        "measurements": list(fused.coding.names),
        "measurement_units": fused.coding.units,
        "measurements_left_out": [f"{found} ({len(found.case_ids)} cases)" for found in strange],
        "settings": asdict(provenance.settings),
        "tuning": asdict(provenance.tune) if provenance.tune else None,
        "distilled": asdict(provenance.distilled) if provenance.distilled else None,
        "device": provenance.device,
        "train": _counts(fold.train),
        "dev": _counts(fold.held_out),
        "epochs": [asdict(epoch) for epoch in provenance.epochs],
        "best_epoch": provenance.best,
        "chosen_by": provenance.choice.by,
        "figures": provenance.figures,
        "orientation": asdict(provenance.told) if provenance.told else None,
        "versions": {name: version(name) for name in ("medclip-assistant", "torch", "open_clip_torch", "onnxruntime")},
    }
    write_json(layout.training, facts)
    environment = Environment(
        loader=PackageLoader("medclip.training", "."), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    card = environment.get_template("card.md.jinja").render(
        facts=facts, choice=provenance.choice, disclaimer=DISCLAIMER, size=towers.preprocessing.size
    )
    layout.card.write_text(card, encoding="utf-8")


def weights_of(towers: Towers, provenance: Provenance) -> tuple[Weights, ...]:
    """Whose weights a model has, and of whom it learnt."""
    origins = dict.fromkeys([towers.image, towers.text, provenance.teacher])
    return tuple(
        Weights(whose=one.whose, licence=one.licence, mind=restriction(one.licence))
        for one in origins
        if one is not None
    )


def _counts(cases: Sequence[Case]) -> dict[str, Any]:
    return {
        "cases": len(cases),
        "patients": len({case.patient for case in cases}),
        "scans": sum(len(case.scans) for case in cases),
        "synthetic": sum(case.synthetic for case in cases),
        "sources": sorted({case.source or "unknown" for case in cases}),
    }
