"""What a viewer is given: every slice's stored values, which windowed as the pictures are look as they do."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from medclip.errors import ScanError
from medclip.modalities.scan.pictures import choose_slices
from medclip.modalities.scan.read import as_tiff, read_scan, read_stack
from medclip.modalities.scan.stack import GREY, Slice, Stack, as_stack, from_pictures, quantised, slices_that_fit

PLENTY = 64 << 20


def series(folder: Path, slices: int, *, side: int = 32, slope: float = 1, intercept: float = -1024) -> Path:
    """A CT whose values rise from slice to slice and along the rows."""
    folder.mkdir()
    uid = generate_uid()
    for number in range(slices):
        dataset = pydicom.dcmread(str(get_testdata_file("CT_small.dcm", download=False)))
        for word in ("WindowCenter", "WindowWidth", "PixelPaddingValue"):
            if word in dataset:
                delattr(dataset, word)
        dataset.SeriesInstanceUID, dataset.SOPInstanceUID = uid, generate_uid()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.Rows = dataset.Columns = side
        dataset.PixelRepresentation, dataset.InstanceNumber = 0, number + 1
        dataset.ImagePositionPatient = [0, 0, 3.0 * number]
        dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept
        stored = (np.arange(side * side, dtype=np.uint16) * 2 + 10 * number).reshape(side, side)
        dataset.PixelData = stored.tobytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset.save_as(folder / f"{number:03}.dcm")
    return folder


def shown(stack: Stack, number: int) -> np.ndarray:
    grey = stack.window.apply(stack.slices[number].values())
    return 255 - grey if stack.inverted else grey


def looks_like(stack: Stack, pictures: Sequence[np.ndarray], slices: Sequence[int]) -> bool:
    return all(
        np.abs(shown(stack, n).astype(int) - picture.astype(int)).max() <= 1
        for n, picture in zip(slices, pictures, strict=True)
    )


def test_all_slices_of_a_series_come_with_the_values_of_its_files(tmp_path: Path) -> None:
    folder = series(tmp_path / "ct", 30)
    stack, scan = read_stack(folder, PLENTY), read_scan(folder)
    assert (len(stack.slices), stack.total, stack.shrunk) == (30, 30, 1)
    assert stack.hounsfield
    for number, file in enumerate(sorted(folder.iterdir())):
        dataset = pydicom.dcmread(file)
        assert np.array_equal(stack.slices[number].values(), dataset.pixel_array * 1.0 - 1024)
    assert str(stack.window) == scan.window
    assert looks_like(stack, scan.pictures, choose_slices(30))


def test_a_stack_keeps_within_its_bytes_and_says_what_is_left_out(tmp_path: Path) -> None:
    folder = series(tmp_path / "ct", 30)
    stack = read_stack(folder, 10 * 32 * 32 * 2)
    assert (len(stack.slices), stack.total, stack.shrunk) == (10, 30, 1)
    assert stack.nbytes <= 10 * 32 * 32 * 2
    small = read_stack(folder, 600)
    assert (len(small.slices), small.shrunk, small.pictures[0].shape) == (1, 2, (16, 16))
    assert small.nbytes <= 600
    whole = read_stack(folder, PLENTY).slices[15].values()
    assert np.abs(small.slices[0].values() - whole.reshape(16, 2, 16, 2).mean((1, 3))).max() <= 1


@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "MR_small.dcm", "examples_overlay.dcm", "JPEG2000.dcm", "color3d_jpeg_baseline.dcm"]
)
def test_a_stack_looks_as_the_pictures_do(name: str) -> None:
    file = Path(str(get_testdata_file(name, download=False)))
    scan, stack = read_scan(file), read_stack(file, PLENTY)
    assert stack.total == scan.total
    assert looks_like(stack, scan.pictures, choose_slices(stack.total))


def test_what_is_stored_white_on_black_is_said(tmp_path: Path) -> None:
    folder = series(tmp_path / "cr", 1)
    [file] = folder.iterdir()
    dataset = pydicom.dcmread(file)
    dataset.PhotometricInterpretation, dataset.Modality = "MONOCHROME1", "CR"
    dataset.PixelSpacing = [0.4, 0.2]
    dataset.save_as(file)
    stack = read_stack(file, PLENTY)
    assert stack.inverted
    assert not stack.hounsfield
    assert stack.aspect == 2
    assert looks_like(stack, read_scan(file).pictures, [0])


@pytest.mark.parametrize("kind", [np.int16, np.uint8, np.float32, np.int32, ">i2"])
@pytest.mark.parametrize("codes", ["RAS", "PIL"])
def test_a_volume_lies_as_its_pictures_do(kind: type, codes: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    volume = nibabel.Nifti1Image(rng.integers(0, 200, (40, 48, 30)).astype(kind), np.diag([1.0, 2.0, 4.0, 1.0]))
    turn = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(volume.affine), nibabel.orientations.axcodes2ornt(codes)
    )
    image = volume.as_reoriented(turn)
    image.header.set_slope_inter(2, 7)
    nibabel.save(image, tmp_path / "a.nii.gz")
    scan, stack = read_scan(tmp_path / "a.nii.gz"), read_stack(tmp_path / "a.nii.gz", PLENTY)
    assert (len(stack.slices), stack.aspect) == (30, 2)
    assert looks_like(stack, scan.pictures, choose_slices(30))


def test_deep_pictures_keep_their_values_and_others_are_grey(tmp_path: Path) -> None:
    deep = (np.arange(64 * 64, dtype=np.uint16) * 7 + 1000).reshape(64, 64)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    Image.fromarray((deep >> 8).astype(np.uint8)).save(tmp_path / "grey.png")
    pages = [np.full((32, 48), value, np.uint8) for value in (10, 20, 30)]
    (tmp_path / "pages.tif").write_bytes(as_tiff(pages))
    assert np.array_equal(read_stack(tmp_path / "deep.png", PLENTY).slices[0].values(), deep)
    assert looks_like(read_stack(tmp_path / "deep.png", PLENTY), read_scan(tmp_path / "deep.png").pictures, [0])
    grey = read_stack(tmp_path / "grey.png", PLENTY)
    assert (grey.pictures[0].dtype, str(grey.window)) == (np.uint8, "C 128 W 256 (grey)")
    assert looks_like(grey, read_scan(tmp_path / "grey.png").pictures, [0])
    assert [int(one.max()) for one in read_stack(tmp_path / "pages.tif", PLENTY).pictures] == [10, 20, 30]


def test_what_is_no_scan_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    with pytest.raises(ScanError, match="damaged"):
        read_stack(tmp_path / "a.png", PLENTY)
    with pytest.raises(ScanError, match="not found"):
        read_stack(tmp_path / "b.png", PLENTY)


def test_values_of_any_range_are_kept_to_a_65535th() -> None:
    values = np.random.default_rng(0).normal(0, 1e6, (20, 20))
    assert np.abs(quantised(values).values() - values).max() <= np.ptp(values) / 65535
    whole = np.arange(-500, 500, dtype=np.float64).reshape(20, 50)
    assert np.array_equal(quantised(whole).values(), whole)
    assert np.array_equal(quantised(np.full((4, 4), 2.5)).values(), np.full((4, 4), 2.5))


def test_slices_of_several_kinds_become_one_without_loss() -> None:
    signed, unsigned = np.array([[-32768, 32767]], np.int16), np.array([[0, 65535]], np.uint16)
    stack = as_stack([Slice(signed, 2, 1), Slice(unsigned)], 2, GREY)
    assert {one.dtype for one in stack.pictures} == {np.dtype(np.uint16)}
    assert stack.slices[0].values().tolist() == [[-65535, 65535]]
    assert stack.slices[1].values().tolist() == [[0, 65535]]


def test_slices_are_left_out_before_they_are_shrunk() -> None:
    assert slices_that_fit(100, (10, 10), 2, 2000) == ([int((i + 0.5) * 10) for i in range(10)], 1)
    assert slices_that_fit(1, (100, 100), 2, 5000) == ([0], 2)


def test_pictures_alone_say_why(tmp_path: Path) -> None:
    Image.fromarray(np.full((32, 32), 7, np.uint8)).save(tmp_path / "a.png")
    stack = from_pictures(read_scan(tmp_path / "a.png"), "8-bit pictures")
    assert stack.notes == ("8-bit pictures",)
    assert looks_like(stack, read_scan(tmp_path / "a.png").pictures, [0])
