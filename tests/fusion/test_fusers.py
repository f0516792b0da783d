"""What every fuser promises, whatever it is made of."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from medclip.errors import BundleError
from medclip.fusion import Fuser, Parts, fuser_names
from medclip.fusion.base import FuserShape, build_network, require_fuser
from medclip.fusion.case_vector import unit

BASE, CODED = 24, 6
TRAINED = [name for name in fuser_names() if name != "sum"]


def _fuser(name: str) -> Fuser:
    torch.manual_seed(0)
    network = build_network(name, FuserShape(BASE + CODED, 32, 16, drop=0.5))
    if network is None:
        return Fuser(BASE, CODED)
    network.eval()

    def run(tokens: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        packed = torch.from_numpy(tokens)
        with torch.inference_mode():
            return network(packed[..., :-1], packed[..., -1]).numpy()  # type: ignore[no-any-return]

    return Fuser(BASE, CODED, 16, 0.3, run)


def _case(seed: int, scans: int = 2, texts: int = 1, measured: bool = True) -> Parts:
    rng = np.random.default_rng(seed)
    vectors = unit(rng.normal(size=(scans + texts, BASE)).astype(np.float32))
    values = unit(rng.normal(size=CODED).astype(np.float32)) if measured else np.zeros(CODED, np.float32)
    return Parts(vectors[:scans], vectors[scans + 1 :], vectors[scans : scans + 1], values)


def test_the_fusers_of_the_contract_are_there() -> None:
    assert fuser_names() == ["sum", "attention", "concat", "gated"]
    require_fuser("gated")
    with pytest.raises(BundleError, match="choose one of: sum"):
        require_fuser("average")


@pytest.mark.parametrize("name", fuser_names())
def test_any_subset_of_modalities_gives_a_unit_vector(name: str) -> None:
    fuser = _fuser(name)
    cases = [
        _case(i, scans, texts, bool(measured))
        for i, (scans, texts, measured) in enumerate([(2, 1, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1), (3, 2, 0), (0, 2, 1)])
    ]
    fused = fuser.fuse(cases)
    assert fused.shape == (len(cases), fuser.width)
    np.testing.assert_allclose(np.linalg.norm(fused, axis=1), 1, atol=1e-5)
    alone = np.concatenate([fuser.fuse([case]) for case in cases])
    np.testing.assert_allclose(fused, alone, atol=1e-5)


@pytest.mark.parametrize("name", fuser_names())
def test_each_modality_moves_the_vector_and_the_order_of_scans_does_not(name: str) -> None:
    fuser, case = _fuser(name), _case(1)
    whole = fuser.fuse([case])[0]
    for part in case.there:
        assert float(fuser.fuse([case.only(set(case.there) - {part})])[0] @ whole) < 0.999
    turned = Parts(case.scans[::-1], case.history, case.report, case.measurements)
    np.testing.assert_allclose(fuser.fuse([turned])[0], whole, atol=1e-5)


@pytest.mark.parametrize("name", TRAINED)
def test_what_is_absent_changes_nothing_whatever_its_token_holds(name: str) -> None:
    fuser = _fuser(name)
    tokens = fuser.tokens([_case(2, texts=0), _case(3, scans=0)])
    assert fuser.run is not None
    before = fuser.run(tokens)
    for row, modality in ((0, 1), (1, 0)):
        assert tokens[row, modality, -1] == 0
        tokens[row, modality, :-1] = 7.0
    np.testing.assert_allclose(fuser.run(tokens), before, atol=1e-5)


@pytest.mark.parametrize("texts", [1, 2])
def test_in_the_sum_every_modality_counts_the_same_however_many_texts_or_scans_there_are(texts: int) -> None:
    case = _case(4, scans=2, texts=texts, measured=False)
    expected = unit(unit(case.scans.mean(0)) + unit(case.texts.mean(0)))
    np.testing.assert_allclose(_fuser("sum").fuse([case])[0, :BASE], expected, atol=1e-6)
    assert case.composition == ("scan+report" if texts == 1 else "scan+history+report")


def test_a_model_of_before_adds_its_texts_up_as_it_did() -> None:
    case = _case(4, scans=2, texts=2, measured=False)
    expected = unit(unit(case.scans.mean(0)) + case.texts.sum(0))
    np.testing.assert_allclose(Fuser(BASE, CODED, adds_texts=True).fuse([case])[0, :BASE], expected, atol=1e-6)


@pytest.mark.parametrize("name", fuser_names())
def test_what_was_trained_on_cases_is_told_apart_from_what_the_frozen_towers_know(name: str) -> None:
    fuser, case = replace(_fuser(name), aligned=5), _case(5, texts=2)
    moved = replace(case, scans=case.scans.copy(), history=case.history.copy())
    moved.scans[:, :5], moved.history[:, :5] = 0.3, -0.1
    for part, block in fuser.blocks(moved).items():
        assert block.shape == (fuser.width_of(part),)
        np.testing.assert_allclose(block, fuser.blocks(case)[part], atol=1e-6)
    vectors = fuser.untrained(fuser.fuse([case]))
    assert not vectors[0, :5].any()
    assert not vectors[0, BASE + CODED :].any()
    np.testing.assert_allclose(np.linalg.norm(vectors), 1, atol=1e-5)
