"""DICOM as hospitals have it: what a stored value looks like, and which slices make a scan."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, generate_uid

from medclip.errors import ScanError
from medclip.modalities.scan.pictures import SLICES
from medclip.modalities.scan.read import read_scan
from medclip.modalities.scan.window import Window, ct_preset

Edit = Callable[[FileDataset], None]


def real(name: str) -> Path:
    file = get_testdata_file(name, download=False)
    assert file is not None
    return Path(str(file))


@pytest.fixture
def ct(tmp_path: Path) -> Callable[..., Path]:
    """Writes a small CT slice whose stored values are 0, 1, 2, ... in rows, changed by an edit."""

    def write(name: str, edit: Edit | None = None, *, folder: Path = tmp_path) -> Path:
        dataset = pydicom.dcmread(real("CT_small.dcm"))
        for word in ("WindowCenter", "WindowWidth", "PixelPaddingValue", "BodyPartExamined"):
            if word in dataset:
                delattr(dataset, word)
        dataset.Rows = dataset.Columns = 32
        dataset.PixelRepresentation = 0
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
        dataset.PixelData = np.arange(1024, dtype=np.uint16).tobytes()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        if edit:
            edit(dataset)
        folder.mkdir(exist_ok=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset.save_as(folder / name)
        return folder / name

    return write


def settings(**values: object) -> Edit:
    def edit(dataset: FileDataset) -> None:
        for name, value in values.items():
            setattr(dataset, name, value)

    return edit


# what a stored value looks like


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("LINEAR", [0, 0, 127, 255, 255]),
        ("LINEAR_EXACT", [0, 0, 128, 255, 255]),
        ("SIGMOID", [5, 30, 128, 225, 250]),
    ],
)
def test_windows_follow_the_standard(function: str, expected: list[int]) -> None:
    window = Window(100, 200, "file", function)  # type: ignore[arg-type]
    values = np.asarray([[-100.0, 0.0, 100.0, 200.0, 300.0]])
    np.testing.assert_allclose(window.apply(values)[0].astype(int), expected, atol=1)


def test_rescale_comes_before_the_window_and_monochrome1_last(ct: Callable[..., Path]) -> None:
    how = settings(RescaleSlope=2, RescaleIntercept=-1024, WindowCenter=0, WindowWidth=1000)
    scan = read_scan(ct("a.dcm", how))
    assert scan.window == "C 0 W 1000 (file)"
    shown = scan.middle.ravel().astype(int)
    hounsfield = np.arange(1024) * 2 - 1024
    assert shown[hounsfield <= -501].max() == 0
    assert shown[hounsfield >= 500].min() == 255
    assert abs(int(shown[hounsfield == 0][0]) - 128) <= 1

    def inverted(dataset: FileDataset) -> None:
        how(dataset)
        dataset.PhotometricInterpretation = "MONOCHROME1"

    np.testing.assert_array_equal(read_scan(ct("b.dcm", inverted)).middle, 255 - scan.middle)


def test_a_modality_lut_replaces_the_rescale(ct: Callable[..., Path]) -> None:
    def edit(dataset: FileDataset) -> None:
        table = Dataset()
        table.add_new("LUTDescriptor", "US", [1024, 0, 16])
        table.add_new("LUTData", "OW", np.arange(1023, -1, -1).astype(np.uint16).tobytes())
        table.ModalityLUTType = "US"
        dataset.ModalityLUTSequence = Items([table])
        del dataset.RescaleSlope, dataset.RescaleIntercept
        dataset.WindowCenter, dataset.WindowWidth = 512, 1024

    falling = read_scan(ct("a.dcm", edit)).middle.ravel().astype(int)
    assert falling[0] == 255
    assert falling[-1] == 0
    assert (np.diff(falling) <= 0).all()


def test_signed_values_keep_their_sign(ct: Callable[..., Path]) -> None:
    values = np.arange(1024, dtype=np.int16) - 512
    how = settings(PixelRepresentation=1, PixelData=values.tobytes(), WindowCenter=0, WindowWidth=1024)
    shown = read_scan(ct("a.dcm", how)).middle.ravel()
    assert (shown[0], shown[-1]) == (0, 255)
    assert (np.diff(shown.astype(int)) >= 0).all()


def test_each_frame_of_an_enhanced_file_has_its_own_rescale_and_window(ct: Callable[..., Path]) -> None:
    def group(intercept: int, centre: int) -> Dataset:
        frame, value, window = Dataset(), Dataset(), Dataset()
        value.RescaleSlope, value.RescaleIntercept, value.RescaleType = 1, intercept, "HU"
        window.WindowCenter, window.WindowWidth = centre, 1024
        frame.PixelValueTransformationSequence = Items([value])
        frame.FrameVOILUTSequence = Items([window])
        return frame

    def edit(dataset: FileDataset) -> None:
        del dataset.RescaleSlope, dataset.RescaleIntercept
        dataset.NumberOfFrames = 2
        dataset.PixelData = dataset.PixelData * 2
        dataset.PerFrameFunctionalGroupsSequence = Items([group(0, 512), group(-512, 512)])

    first, second = read_scan(ct("a.dcm", edit)).pictures
    assert first.mean() > 120
    np.testing.assert_allclose(second.ravel()[512:].astype(int), first.ravel()[:512].astype(int), atol=1)


@pytest.mark.parametrize(
    ("region", "name"), [("CHEST", "lung"), ("HEAD", "brain"), ("LSPINE", "bone"), ("ABDOMEN", "soft tissue")]
)
def test_a_ct_without_a_window_gets_its_regions(region: str, name: str, ct: Callable[..., Path]) -> None:
    how = settings(RescaleIntercept=-1024, RescaleSlope=2, BodyPartExamined=region)
    assert read_scan(ct("a.dcm", how)).window == str(ct_preset(region))
    assert f"preset {name}" in str(ct_preset(region))


@pytest.mark.parametrize(
    ("region", "name"),
    [
        *((word, "soft tissue") for word in ("HEART", "FOREARM", "ABDOMEN", "PELVIS", "", "HANDELSKAI", "1234")),
        *((word, "bone") for word in ("EAR", "left ear", "C_SPINE", "CSPINE", "TLSPINE", "UPEXTREMITY", "SINUSES")),
        *((word, "lung") for word in ("CHESTABDPELVIS", "CHEST/ABD", "NECKCHEST", "thorax")),
        *((word, "brain") for word in ("HEADNECK", "HEAD_NECK", "BRAIN W/O")),
    ],
)
def test_a_region_is_known_by_whole_words(region: str, name: str) -> None:
    assert f"preset {name}" in str(ct_preset(region))


def test_padding_outside_the_field_of_view_is_black(ct: Callable[..., Path]) -> None:
    values = np.arange(1024, dtype=np.uint16)
    values[:64] = 60_000

    def edit(dataset: FileDataset) -> None:
        dataset.PixelData = values.tobytes()
        dataset.add_new("PixelPaddingValue", "US", 60_000)

    shown = read_scan(ct("a.dcm", edit)).middle.ravel()
    assert shown[:64].max() == 0
    assert shown[-1] == 255


def test_files_without_a_preamble_are_known(ct: Callable[..., Path], tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.write_bytes(ct("a.dcm").read_bytes()[132:])
    np.testing.assert_array_equal(read_scan(bare).middle, read_scan(tmp_path / "a.dcm").middle)


# mean and standard deviation of pictures that were looked at: compressed, colour, palette, float, multi-frame
GOLDEN = {
    "CT_small.dcm": (102, 82),
    "693_J2KI.dcm": (44, 82),
    "JPEG-LL.dcm": (31, 48),
    "JPGLosslessP14SV1_1s_1f_8b.dcm": (17, 41),
    "MR_small_jpeg_ls_lossless.dcm": (113, 61),
    "MR_small_RLE.dcm": (113, 61),
    "MR_small_bigendian.dcm": (113, 61),
    "GDCMJ2K_TextGBR.dcm": (125, 18),
    "SC_rgb_gdcm_KY.dcm": (128, 78),
    "SC_rgb_rle_16bit_2frame.dcm": (127, 78),
    "OT-PAL-8-face.dcm": (101, 43),
    "examples_ybr_color.dcm": (11, 22),
    "RG1_J2KI.dcm": (192, 39),
    "RG3_UNCR.dcm": (177, 92),
    "emri_small_jpeg_2k_lossless.dcm": (60, 55),
    "eCT_Supplemental.dcm": (39, 65),
    "US1_UNCI.dcm": (36, 57),
    "color3d_jpeg_baseline.dcm": (10, 22),
    "vlut_04.dcm": (129, 75),
    "mlut_18.dcm": (129, 75),
    "image_dfl.dcm": (127, 70),
}


def test_real_files_of_every_kind_read_as_the_pictures_they_are() -> None:
    for name, (mean, deviation) in GOLDEN.items():
        picture = read_scan(real(name)).middle
        assert abs(picture.mean() - mean) <= 2, name
        assert abs(picture.std() - deviation) <= 2, name


@pytest.mark.slow
def test_every_file_of_pydicom_reads_or_says_in_one_line_why_not() -> None:
    import data_store

    roots = (Path(pydicom.__file__).parent / "data" / "test_files", Path(data_store.__file__).parent / "data")
    read, refusals = 0, []
    for file in (f for root in roots for f in sorted(root.rglob("*.dcm"))):
        try:
            scan = read_scan(file)
        except ScanError as error:
            refusals.append((file.name, str(error)))
            continue
        read += 1
        picture = scan.middle.astype(float)
        if picture.std() > 0:  # noise would differ from pixel to pixel by more than it differs overall
            assert np.abs(np.diff(picture, axis=1)).mean() / picture.std() < 1.2, file.name
    assert read > 80
    for name, refusal in refusals:
        assert name in refusal
        assert "\n" not in refusal


# which slices make a scan


@pytest.fixture
def series(ct: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """Writes a folder of slices: each a level of grey that rises with its place, files in a shuffled order."""

    def write(places: list[float], **more: list[object]) -> Path:
        uid = generate_uid()
        order = np.random.default_rng(0).permutation(len(places))
        for number, at in enumerate(order):
            values = np.full(1024, 10 * int(places[at]), np.uint16)
            values[0] = 1000
            set_ = {
                "SeriesInstanceUID": uid,
                "SOPInstanceUID": generate_uid(),
                "InstanceNumber": 1,
                "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
                "ImagePositionPatient": [0, 0, places[at]],
                "PixelData": values.tobytes(),
                "WindowCenter": 500,
                "WindowWidth": 1000,
            } | {name: list_[at] for name, list_ in more.items()}
            ct(f"{number:03d}.dcm", settings(**set_), folder=tmp_path / "series")
        return tmp_path / "series"

    return write


def levels(folder: Path) -> list[float]:
    return [float(np.median(picture)) for picture in read_scan(folder).pictures]


def test_slices_come_in_geometric_order_whatever_their_names(series: Callable[..., Path]) -> None:
    folder = series([float(n) for n in range(40)])
    scan = read_scan(folder)
    assert (len(scan.pictures), scan.total) == (SLICES, 40)
    assert levels(folder) == sorted(levels(folder))
    assert scan.summary.startswith("12 of 40 slices; window C 500 W 1000 (file)")


def test_missing_and_duplicate_slices_are_told(series: Callable[..., Path]) -> None:
    scan = read_scan(series([0, 1, 2, 3, 3, 6, 7, 8]))
    assert scan.total == 7
    assert scan.notes == ("1 left out: a place already taken", "slices missing at 1 place")


def test_another_orientation_is_left_out_and_told(series: Callable[..., Path]) -> None:
    turns: list[object] = [[1, 0, 0, 0, 1, 0]] * 8 + [[1, 0, 0, 0, 0, -1]]
    scan = read_scan(series([float(n) for n in range(9)], ImageOrientationPatient=turns))
    assert scan.total == 8
    assert "another orientation" in scan.summary


def test_absurd_places_fall_back_to_the_numbers(series: Callable[..., Path]) -> None:
    numbers: list[object] = [8 - n for n in range(8)]
    places: list[object] = [[0, 0, 1e30]] * 8
    folder = series([float(n) for n in range(8)], InstanceNumber=numbers, ImagePositionPatient=places)
    assert levels(folder) == sorted(levels(folder), reverse=True)


def test_two_series_in_a_folder_are_refused(series: Callable[..., Path]) -> None:
    uids: list[object] = [generate_uid(), generate_uid(), generate_uid()]
    with pytest.raises(ScanError, match="holds 3 series"):
        read_scan(series([0, 1, 2], SeriesInstanceUID=uids))


def test_a_damaged_slice_costs_itself_not_the_series(series: Callable[..., Path]) -> None:
    folder = series([float(n) for n in range(8)])
    victim = sorted(folder.iterdir())[3]
    victim.write_bytes(victim.read_bytes()[:-1000])
    (folder / "notes.txt").write_text("not a slice")
    scan = read_scan(folder)
    assert len(scan.pictures) == 7
    assert scan.notes == ("1 left out: damaged", "1 left out: no DICOM image")


# what is no scan, or harmful


def test_what_holds_no_scan_says_so(ct: Callable[..., Path], tmp_path: Path) -> None:
    def nothing(dataset: FileDataset) -> None:
        del dataset.PixelData

    with pytest.raises(ScanError, match="no pixel data"):
        read_scan(ct("a.dcm", nothing))
    with pytest.raises(ScanError, match="a segmentation"):
        read_scan(ct("b.dcm", settings(Modality="SEG")))
    with pytest.raises(ScanError, match="million pixels"):
        read_scan(ct("c.dcm", settings(Rows=65535, Columns=65535)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ScanError, match="holds no DICOM image"):
        read_scan(tmp_path / "empty")


@pytest.mark.slow
def test_a_deflated_bomb_is_refused_before_it_bursts(ct: Callable[..., Path], tmp_path: Path) -> None:
    import zlib

    file = ct("a.dcm", lambda d: setattr(d.file_meta, "TransferSyntaxUID", DeflatedExplicitVRLittleEndian))
    meta = pydicom.filereader.read_file_meta_info(file)
    start = 144 + int(meta.FileMetaInformationGroupLength)
    deflater = zlib.compressobj(9, wbits=-15)
    zeros = bytes(1 << 24)
    squeezed = b"".join(deflater.compress(zeros) for _ in range(70)) + deflater.flush()
    (tmp_path / "bomb.dcm").write_bytes(file.read_bytes()[:start] + squeezed)
    with pytest.raises(ScanError, match="inflates to over"):
        read_scan(tmp_path / "bomb.dcm")
