"""Every knob of training, in one place: what is turned, in which unit, and what chose its value.

Where a comment ends with three figures, they are what ``make bench-settings`` measured at half the value, at the value, and
at double: the mean recall@10 of both directions between scans and captions on MedPix's dev split. Two
seeds; they differ by 0.03, so such figures say that a knob matters little, not which value is best.
*Not tuned* means that a usual value was taken and none other tried.
"""

from dataclasses import dataclass, field

from medclip.errors import CaseError

__all__ = [
    "AttentionSettings",
    "Augmentation",
    "BaselineSettings",
    "FuserSettings",
    "LossWeights",
    "OrientationSettings",
    "Settings",
    "TuneSettings",
    "parse_weights",
]

MOST_SCALE = 100.0
"""Largest inverse temperature of the contrastive loss that is learnt, and
`FIRST_SCALE` where it begins: as in CLIP (Radford et al. 2021, arXiv 2103.00020, section 2.5)."""
FIRST_SCALE = 1 / 0.07

AVERAGING_START = 10
"""Steps by which the moving average of the weights looks back less at the beginning, when they are far from what they become:
its decay is (steps done) / (steps done + 10) until that exceeds `averaging`."""

WARM_UP = 50
"""Steps over which the learning rate rises. Not tuned: an epoch or two of some hundred cases."""


@dataclass(frozen=True)
class Augmentation:
    """How far a scan is changed, each by a number drawn evenly from the range; none of the ranges is tuned.

    They are to stay within what another positioning, scanner or window would show. Six of them, together, raised dev
    recall@10 by 0.06 (docs/figures.md, "What helped").
    """

    rotation: float = 12.0  # degrees to either side
    zoom: tuple[float, float] = (0.8, 1.25)  # even on a logarithmic scale
    stretch: float = 0.1  # logarithm of width over height, to either side
    shift: float = 0.07  # of the side, in either direction along each axis
    gamma: float = 0.35  # logarithm of the exponent, to either side
    contrast: tuple[float, float] = (0.8, 1.2)  # about the middle grey
    brightness: float = 0.08  # of white, to either side
    noisy: float = 0.3  # share of the pictures that get noise, and
    noise: float = 0.03  # its standard deviation, of white


@dataclass(frozen=True)
class AttentionSettings:
    """The attention over the pictures of a scan; its few weights (one a feature) are learnt in seconds."""

    steps: int = 300  # not tuned
    batch: int = 128  # cases a step, as in `Settings`
    width: int = 128  # of the heads, which are thrown away; not tuned
    scale: float = 14.0  # inverse temperature: `FIRST_SCALE`, rounded and not learnt
    most: int = 16  # pictures of a case in a step: more than the 12 slices of a volume, so that few are left out
    least_cases: int = 8  # with a report and several pictures; of fewer nothing can be learnt
    learning_rate: float = 1e-3  # that of `Settings`
    weight_decay: float = 1.0  # the same
    dropout: float = 0.5  # of the pooled features, as the projection's
    limit: float = 20.0  # of a logarithmic weight: exp(20) is all the weight there is


@dataclass(frozen=True)
class Settings:
    """Everything that decides what training gives, besides the cases and the towers."""

    seed: int = 0
    epochs: int = 30  # at most; not tuned: with a dev set, `patience` ends training
    batch: int = 128  # scans; 0.69, 0.65, 0.64
    learning_rate: float = 1e-3  # AdamW's usual; 0.65, 0.65, 0.65
    weight_decay: float = 1.0  # strong, for some hundred cases; not tuned
    augmentations: int = 6  # of each scan; 0 cost 0.06 of dev recall@10 (docs/figures.md, "What helped")
    findings_share: float = 0.3  # of texts in a batch that are the case's findings; not tuned
    sentence_share: float = 0.3  # of texts in a batch that are one sentence of its report; not tuned
    text_noise: float = 0.3  # standard deviation, in units of the text features' mean spread; not tuned
    averaging: float = 0.99  # decay of the weights' moving average, which is what is kept; not tuned
    patience: int = 10  # epochs without a better dev recall before training stops; not tuned
    aligned: int = 256  # width of the aligned block; not tuned
    hidden: int = 512  # width inside the MLP; not tuned
    scan_kept: int = 512  # principal axes of the scan tower's features; not tuned
    text_kept: int = 384  # all that MiniLM has
    aligned_share: float = 0.3  # squared length of the aligned block, of 1; chosen on MedPix's folds (docs/figures.md)


SCAN_DROPOUT, TEXT_DROPOUT, HIDDEN_DROPOUT = 0.5, 0.1, 0.3
"""Shares of a scan's features, of a text's, and of the MLP's hidden units that a step leaves out. A scan tower's
features are many and repeat each other, a sentence's do not. Not tuned."""


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
    """Everything that decides what a fuser becomes, besides the cases and the projection.

    Dropping, noise, smoothing and share were chosen together on folds of covid-chestxray and on the synthetic joint cohort
    (docs/figures.md, "Every modality, fused"); what is not tuned says so.
    """

    name: str = "sum"  # which ranks best (docs/figures.md)
    weights: LossWeights = field(default_factory=LossWeights)
    steps: int = 1000  # at most; the patients held out choose how many
    batch: int = 128  # cases, as in `Settings`
    learning_rate: float = 2e-3  # not tuned
    weight_decay: float = 1.0  # as in `Settings`
    hidden: int = 128  # not tuned
    joint: int = 128  # width of the joint block; not tuned
    drop: float = 0.2  # of a token's numbers
    share: float = 0.15  # squared length of the joint block, of 1
    whole: float = 0.5  # chance that a view shows every modality that the case has, and
    modality_kept: float = 0.65  # that it shows each where it does not
    value_kept: float = 0.8  # chance that a view shows a measurement that the case has
    noise: float = 0.5  # length of the random vector added to a scan's or text's
    smoothing: float = 0.1  # of labels (Szegedy et al. 2016, arXiv 1512.00567)
    averaging: float = 0.99  # as in `Settings`
    scans: int = 6  # of a case, at most, in a view; not tuned
    history: float = 0.7  # chance that a view's text is, or holds, the history where there are both, and
    report: float = 0.6  # that it is, or holds, a text of the report; so one view in three holds both
    label_scale: float = (
        8.0  # of a unit vector before the classifier: a logit of ±8 can be as sure as smoothing lets it
    )
    pair_scale: float = (
        10.0  # inverse temperature of both contrastive terms; SupCon's 1/0.1 (Khosla et al. 2020, section 4)
    )
    held: float = 0.2  # share of the patients held out to choose the number of steps; not tuned
    least_held: int = 10  # cases that takes
    held_views: int = 4  # of each of them, so that the loss is less of a draw
    check_every: int = 50  # steps
    patience: int = 8  # checks without a better loss before the end; not tuned


@dataclass(frozen=True)
class OrientationSettings:
    """The head that tells how a scan lies (`orientation.py`).

    Chosen on MedPix, 5 folds of patients, by the AUROC of 1 − P(upright), scans upside down against upright ones, both unseen.
    """

    pictures: int = (
        2500  # turned, at most: 0.972 of 1500, 0.975 of 2000, 0.977 of 2500, 0.978 of 3000; 60 a second on 2 cores
    )
    dev_pictures: int = 500  # turned, at most, on which the head is measured: a share of 0.85 to 0.03 (95 %)
    least_cases: int = 10  # with a scan; 20 scans give 0.915, 50 give 0.954
    strength: float = (
        0.3  # scikit-learn's C; 3, 10 and 30 differ by less than 0.001, but know their own scans so much better
    )
    # that 0.06 to 0.08 of unseen upright ones are called unlike the archive's at p = 0.05; 0.3 costs 0.012, and 0.051 are
    balance: float = 0.0  # of `fit_probe`: each way to turn a scan is drawn as often; 1 gives 0.974 for 0.973


@dataclass(frozen=True)
class TuneSettings:
    """Everything that decides what tuning gives, besides the cases and the towers.

    Not tuned, since no GPU was at hand: small rates for what is pretrained, a larger one for the new layers.
    """

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
class DistilSettings:
    """Everything that decides what distilling gives, besides the scans, the teacher and the tower that learns."""

    seed: int = 0
    epochs: int = 5  # of each scan one augmented copy; not tuned: a slow teacher sees every scan once more for each
    batch: int = 32  # as in `TuneSettings`
    rate: float = 1e-4  # of the tower, as in `TuneSettings`
    map_rate: float = 1e-3  # of the linear map, as of other new layers
    weight_decay: float = 0.05  # as in `TuneSettings`
    ridge: float = 0.1  # of the map's beginning, in units of the features' mean variance; not tuned


@dataclass(frozen=True)
class BaselineSettings:
    """How long and how the reference design is trained; the cases choose nothing."""

    seed: int = 0
    epochs: int = 15  # not tuned
    batch: int = 16  # not tuned
    learning_rate: float = 1e-4  # as published
