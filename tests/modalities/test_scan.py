"""Image files as users have them."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from medclip.errors import ScanError
from medclip.modalities.scan.formats import from_file
from medclip.modalities.scan.pictures import SLICES
from medclip.modalities.scan.prepare import Preprocessing, prepare_scan
from medclip.modalities.scan.read import read_scan
from medclip.training.augmentation import augment

HOW = Preprocessing(size=64, resize="pad", interpolation="bicubic", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def _ramp(height: int = 40, width: int = 60) -> np.ndarray:
    return np.tile(np.linspace(0, 255, width).astype(np.uint8), (height, 1))


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp"])
def test_grey_pictures_come_back_as_they_are(name: str, tmp_path: Path) -> None:
    Image.fromarray(_ramp()).save(tmp_path / name)
    np.testing.assert_array_equal(read_scan(tmp_path / name).middle, _ramp())


def test_sixteen_bits_are_stretched_not_clipped(tmp_path: Path) -> None:
    Image.fromarray(_ramp().astype(np.uint16) * 16).save(tmp_path / "a.png")
    np.testing.assert_allclose(read_scan(tmp_path / "a.png").middle.astype(int), _ramp().astype(int), atol=1)


def test_transparency_lies_on_black(tmp_path: Path) -> None:
    rgba = np.zeros((32, 32, 4), np.uint8)
    rgba[..., :3] = 200
    rgba[:, 16:, 3] = 255
    Image.fromarray(rgba).save(tmp_path / "a.png")
    picture = read_scan(tmp_path / "a.png").middle
    assert (picture[:, :16].max(), picture[:, 16:].min()) == (0, 200)


def test_the_pages_of_a_tiff_are_slices_and_a_preview_is_not(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.full((40, 50), n, np.uint8)) for n in range(30)]
    pages.insert(1, Image.fromarray(np.full((20, 25), 255, np.uint8)))
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    scan = read_scan(tmp_path / "a.tif")
    assert (len(scan.pictures), scan.total) == (SLICES, 30)
    levels = [int(picture.max()) for picture in scan.pictures]
    assert levels == sorted(levels)
    assert levels[0] < 3
    assert levels[-1] > 26


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_the_deep_pages_of_a_tiff_share_one_grey_scale(dtype: type, tmp_path: Path) -> None:
    low, high = (_ramp().astype(dtype) * scale for scale in (2, 16))  # up to 510 and to 4080
    pages = [Image.fromarray(page) for page in (low, high, low)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    first, second, third = read_scan(tmp_path / "a.tif").pictures
    np.testing.assert_array_equal(first, third)
    np.testing.assert_allclose(second.astype(int), _ramp().astype(int), atol=1)
    np.testing.assert_allclose(first.astype(int), np.round(_ramp() / 8), atol=1)


def test_our_own_limit_of_pixels_alone_decides(tmp_path: Path) -> None:
    """Pillow's own warns from 89 million pixels on, which is an error where warnings are."""
    Image.new("L", (9600, 9600), 200).save(tmp_path / "a.png", compress_level=1)
    Image.new("L", (10_001, 10_000)).save(tmp_path / "b.png", compress_level=1)
    pillows = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert from_file(tmp_path / "a.png").middle.min() == 200
        with pytest.raises(ScanError, match=r"b\.png: has over 100 million pixels"):
            from_file(tmp_path / "b.png")
    assert pillows == Image.MAX_IMAGE_PIXELS  # which a program that uses medclip may rely on


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (None, "not found"),
        (b"", "empty"),
        (b"just some text", "not an image"),
        (b"\x89PNG\r\n\x1a\n123", "export it again|not an image"),
    ],
)
def test_what_is_no_scan_is_named(content: bytes | None, word: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.png"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ScanError, match=word) as caught:
        read_scan(file)
    assert "bad.png" in str(caught.value)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".dcm"])
def test_a_truncated_file_is_an_error_never_a_grey_half(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"a{suffix}"
    if suffix == ".dcm":
        file.write_bytes(Path(str(get_testdata_file("CT_small.dcm"))).read_bytes()[:20_000])
    else:
        noise = np.random.default_rng(0).integers(0, 255, (128, 128), dtype=np.uint8)
        Image.fromarray(noise).save(file)
        file.write_bytes(file.read_bytes()[:4000])
    with pytest.raises(ScanError):
        read_scan(file)


def test_padding_keeps_the_shape_and_the_middle() -> None:
    prepared = prepare_scan(np.full((32, 64), 100, np.uint8), HOW)
    assert prepared.shape == (64, 64)
    assert prepared[0].max() == 0
    assert prepared[32].min() == 100


def test_augmentation_is_seeded_and_never_flips() -> None:
    picture = np.zeros((96, 96), np.uint8)
    picture[40:56, 8:28] = 255  # on the left
    for seed in range(40):
        moved = augment(picture, HOW, np.random.default_rng(seed))
        np.testing.assert_array_equal(moved, augment(picture, HOW, np.random.default_rng(seed)))
        bright = moved > 180
        assert bright[:, :32].sum() > 3 * bright[:, 32:].sum()
