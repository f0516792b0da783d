"""NIfTI volumes: which slices, and which way up."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from medclip.errors import ScanError
from medclip.modalities.scan.pictures import SLICES
from medclip.modalities.scan.read import read_scan


def _head() -> np.ndarray:
    """(40, 48, 30): brighter towards the head; the patient's right front is marked."""
    volume = np.zeros((40, 48, 30), np.float32)
    volume[8:32, 8:40] = np.linspace(50, 150, 30)
    volume[26:32, 34:40] = 400  # x rises to the right, y to the front
    return volume


@pytest.mark.parametrize("codes", ["RAS", "LPS", "ASR", "SRA", "PIL"])
def test_however_it_is_stored_axial_slices_look_the_same(codes: str, tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(_head(), np.diag([1.0, 1.0, 4.0, 1.0]))
    turn = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(image.affine), nibabel.orientations.axcodes2ornt(codes)
    )
    nibabel.save(image.as_reoriented(turn), tmp_path / "a.nii.gz")
    scan = read_scan(tmp_path / "a.nii.gz")
    assert (len(scan.pictures), scan.total) == (SLICES, 30)
    picture = scan.middle
    assert picture.shape == (48, 40)
    top, left = np.unravel_index(int(picture.argmax()), picture.shape)
    assert (top, left) == (8, 8)  # front at the top, the patient's right on the left of the picture
    body = [float(np.median(p[20:30, 15:25])) for p in scan.pictures]
    assert body == sorted(body)


def test_hounsfield_units_are_windowed_and_others_stretched(tmp_path: Path) -> None:
    volume = np.full((40, 40, 20), -1000, np.int16)
    volume[10:30, 10:30] = 40
    volume[18:22, 18:22] = 1200
    nibabel.save(nibabel.Nifti1Image(volume, np.diag([1, 1, 3, 1])), tmp_path / "ct.nii")
    assert read_scan(tmp_path / "ct.nii").window == "C 40 W 400 (preset soft tissue)"
    nibabel.save(nibabel.Nifti1Image(np.abs(volume), np.diag([1, 1, 3, 1])), tmp_path / "mr.nii")
    assert "percentiles" in str(read_scan(tmp_path / "mr.nii").window)


def test_of_a_volume_over_time_the_first_is_read_and_told(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.stack([_head(), _head() * 0], -1), np.eye(4)), tmp_path / "a.nii.gz")
    scan = read_scan(tmp_path / "a.nii.gz")
    assert scan.middle.max() > 0
    assert "the first of 2 volumes" in scan.summary


def test_values_that_are_no_numbers_are_black(tmp_path: Path) -> None:
    volume = _head()
    volume[0] = np.nan
    volume[1] = np.inf
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "a.nii.gz")
    assert read_scan(tmp_path / "a.nii.gz").middle.std() > 10


def test_damage_is_named(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(_head(), np.eye(4)), tmp_path / "a.nii")
    (tmp_path / "cut.nii").write_bytes((tmp_path / "a.nii").read_bytes()[:50_000])
    (tmp_path / "text.nii").write_text("no volume at all " * 50)
    for name in ("cut.nii", "text.nii"):
        with pytest.raises(ScanError, match=name):
            read_scan(tmp_path / name)
