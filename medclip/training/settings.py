"""Every knob of training, in one place: what is turned, in which unit, and what chose its value."""

from dataclasses import dataclass, field

from medclip.errors import CaseError

__all__ = ["BaselineSettings", "FuserSettings", "LossWeights", "Settings", "TuneSettings", "parse_weights"]


@dataclass(frozen=True)
class Settings:
    """Everything that decides what training gives, besides the cases and the towers."""

    seed: int = 0
    epochs: int = 30
    batch: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 1.0
    augmentations: int = 6  # of each scan
    findings_share: float = 0.3  # of texts in a batch that are the case's findings
    sentence_share: float = 0.3  # of texts in a batch that are one sentence of its report
    text_noise: float = 0.3  # standard deviation, in units of the text features' mean spread
    averaging: float = 0.99  # decay of the weights' moving average, which is what is kept
    patience: int = 10  # epochs without a better dev recall before training stops
    aligned: int = 256
    hidden: int = 512
    scan_kept: int = 512
    text_kept: int = 384
    aligned_share: float = 0.3


@dataclass(frozen=True)
class LossWeights:
    """What each term of the joint loss counts."""

    alignment: float = 1.0  # two views of a case, made of whatever modalities, find each other
    labels: float = 1.0  # cross-entropy on every label set, averaged; unknown labels masked, classes balanced
    similarity: float = 0.3  # supervised contrastive: cases of one class lie together


def parse_weights(written: str) -> LossWeights:
    """``alignment,labels,similarity``, each a number from 0 up.

    Raises:
        CaseError: it is not written so.
    """
    try:
        alignment, labels, similarity = (float(part) for part in written.split(","))
    except ValueError:
        raise CaseError(f"--loss-weights {written}: give three numbers, as in 1,1,0.3") from None
    if not all(0 <= weight < 1e6 for weight in (alignment, labels, similarity)):
        raise CaseError(f"--loss-weights {written}: give three numbers from 0 up, as in 1,1,0.3")
    return LossWeights(alignment, labels, similarity)


@dataclass(frozen=True)
class FuserSettings:
    """Everything that decides what a fuser becomes, besides the cases and the projection."""

    name: str = "sum"
    weights: LossWeights = field(default_factory=LossWeights)
    steps: int = 1000  # at most
    batch: int = 128  # cases
    learning_rate: float = 2e-3
    weight_decay: float = 1.0
    hidden: int = 128
    joint: int = 128
    drop: float = 0.2
    share: float = 0.15  # squared length of the joint block, of 1
    whole: float = 0.5  # chance that a view shows every modality that the case has, and
    modality_kept: float = 0.65  # that it shows each where it does not
    value_kept: float = 0.8  # chance that a view shows a measurement that the case has
    noise: float = 0.5  # length of the random vector added to a scan's or text's
    smoothing: float = 0.1  # of labels
    averaging: float = 0.99


@dataclass(frozen=True)
class TuneSettings:
    """Everything that decides what tuning gives, besides the cases and the towers."""

    seed: int = 0
    epochs: int = 5
    batch: int = 32
    scan_rate: float = 1e-4
    text_rate: float = 1e-5
    head_rate: float = 1e-3
    weight_decay: float = 0.05
    findings_share: float = 0.3
    sentence_share: float = 0.3


@dataclass(frozen=True)
class BaselineSettings:
    """How long and how it is trained; the cases choose nothing."""

    seed: int = 0
    epochs: int = 15
    batch: int = 16
    learning_rate: float = 1e-4
