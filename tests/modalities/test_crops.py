"""Crops of a picture, and attention over pictures."""

import numpy as np
import pytest

from medclip.modalities.scan.crops import crop_boxes, with_crops
from medclip.modalities.scan.pictures import attend
from medclip.training.attention import fit_attention


@pytest.mark.parametrize(("height", "width", "steps"), [(320, 320, 3), (512, 300, 3), (100, 400, 4), (17, 40, 2)])
def test_crops_are_of_one_size_and_cover_the_picture(height: int, width: int, steps: int) -> None:
    boxes = crop_boxes(height, width, steps)
    if height == width:
        assert len(boxes) == steps**2
    assert len({(b - t, r - left) for t, left, b, r in boxes}) == 1
    seen = np.zeros((height, width), bool)
    for top, left, bottom, right in boxes:
        assert 0 <= top < bottom <= height
        assert 0 <= left < right <= width
        seen[top:bottom, left:right] = True
    assert seen.all()


def test_a_picture_comes_before_its_crops_and_alone_where_none_are_wanted() -> None:
    picture = np.arange(64 * 48, dtype=np.uint8).reshape(64, 48)
    assert len(with_crops([picture, picture], 3)) == 20
    [alone] = with_crops([picture], 0)
    assert alone is picture


def test_attention_is_a_weighted_mean_and_leaves_single_pictures_as_they_are() -> None:
    features = np.asarray([[1, 0], [0, 1], [4, 4]], np.float32)
    pooled = attend(features, [2, 1], np.asarray([np.log(3), 0, 50], np.float32))
    np.testing.assert_allclose(pooled, [[0.75, 0.25], [4, 4]], atol=1e-6)
    equal = attend(features, [2, 1], np.zeros(3, np.float32))
    np.testing.assert_allclose(equal[0], [0.5, 0.5], atol=1e-6)


@pytest.mark.slow
def test_attention_learns_which_slices_show_what_the_report_tells() -> None:
    """Of four pictures of a case one carries what the report says and is marked as such; the others are noise."""
    rng = np.random.default_rng(0)
    cases, told = 80, rng.normal(size=(80, 16)).astype(np.float32)
    pictures = rng.normal(size=(cases, 4, 17)).astype(np.float32)
    pictures[:, :, 16] = -1
    pictures[:, 0, :16], pictures[:, 0, 16] = told, 3
    attention = fit_attention(pictures.reshape(-1, 17), np.repeat(np.arange(cases), 4), told)
    weights = np.exp(pictures @ attention)
    weights /= weights.sum(1, keepdims=True)
    assert weights[:, 0].mean() > 0.4  # equal weights would give 0.25
    assert not fit_attention(pictures[:, 0], np.arange(cases), told).any()  # nothing to choose from
