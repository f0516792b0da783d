"""Files that would take a decoder's time, memory or life: each costs itself alone, and never who asks."""

import os
import resource
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from medclip.errors import ScanError
from medclip.modalities import process
from medclip.modalities.scan import decoding
from medclip.modalities.scan import header as header_module
from medclip.modalities.scan.header import read_header
from medclip.modalities.scan.pictures import SLICES
from medclip.modalities.scan.read import read_scan


def real(name: str) -> Path:
    return Path(str(get_testdata_file(name, download=False)))


def picture(file: Path, side: int = 64) -> Path:
    Image.fromarray(np.tile(np.arange(side, dtype=np.uint8), (side, 1))).save(file)
    return file


def decoder() -> int:
    """The process that read the last scan."""
    return decoding._decoders._idle[-1].handle.pid


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


# sizes are held against the file before anything is allocated


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_RLE.dcm"])
def test_more_frames_than_a_file_can_hold_are_refused_at_once(name: str, tmp_path: Path) -> None:
    dataset = pydicom.dcmread(real(name))
    for frames in (2, 2**31 - 1):
        dataset.NumberOfFrames = frames
        dataset.save_as(tmp_path / "a.dcm")
        started = time.monotonic()
        with pytest.raises(ScanError, match="fewer frames than it says"):
            read_scan(tmp_path / "a.dcm")
        assert time.monotonic() - started < 30  # on a busy machine; it would take minutes


def test_of_a_large_scaled_volume_only_the_shown_slices_are_held(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.zeros((700, 700, 400), np.uint8), np.eye(4))
    image.header.set_slope_inter(0.5, 3)
    nibabel.save(image, tmp_path / "a.nii.gz")
    del image
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    scan = read_scan(tmp_path / "a.nii.gz")
    assert (len(scan.pictures), scan.total) == (SLICES, 400)
    assert (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10
    )  # and the decoder is held to its limit


def test_a_volume_that_inflates_to_too_much_is_refused(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.zeros((2, 2, 2), np.int16), np.eye(4))
    image.header["dim"][1:4] = 30_000, 30_000, 30_000
    (tmp_path / "a.nii").write_bytes(image.header.binaryblock + bytes(1000))
    with pytest.raises(ScanError, match="its volume takes over 1 GiB"):
        read_scan(tmp_path / "a.nii")


def test_a_picture_that_needs_too_much_memory_is_refused(tmp_path: Path) -> None:
    Image.new("RGBA", (9900, 10_000)).save(tmp_path / "a.png", compress_level=1)
    with pytest.raises(ScanError, match="needs over 768 MiB of memory"):
        read_scan(tmp_path / "a.png")
    Image.new("L", (10_001, 10_000)).save(tmp_path / "b.png", compress_level=1)
    with pytest.raises(ScanError, match="over 100 million pixels"):
        read_scan(tmp_path / "b.png")


def test_large_scans_of_the_ward_fit(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 4000, (500, 400), dtype=np.uint16).repeat(10, 0).repeat(10, 1)
    dataset = pydicom.dcmread(real("CT_small.dcm"))
    dataset.Rows, dataset.Columns = noise.shape
    dataset.PixelData = noise.tobytes()
    dataset.save_as(tmp_path / "radiograph.dcm")
    assert read_scan(tmp_path / "radiograph.dcm").middle.shape == noise.shape


@pytest.mark.parametrize("cut", [8, 20, 2000])
def test_a_compressed_frame_that_is_cut_off_is_refused(cut: int, tmp_path: Path) -> None:
    content = real("MR_small_jp2klossless.dcm").read_bytes()
    (tmp_path / "a.dcm").write_bytes(content[: content.rindex(b"\xfe\xff\xdd\xe0") + 8 - cut])
    with pytest.raises(ScanError, match="fewer frames than it says"):
        read_scan(tmp_path / "a.dcm")


# what is no plain file is never opened, what is no scan never tried


def test_pipes_and_devices_are_refused_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.dcm")
    for file in (tmp_path / "a.dcm", Path("/dev/zero")):
        with pytest.raises(ScanError, match="no plain file"):
            read_scan(file)
        with pytest.raises(OSError, match="no plain file"):
            read_header(file)
    with pytest.raises(ScanError, match="no DICOM image"):
        read_scan(tmp_path)


def test_a_link_to_a_scan_elsewhere_is_followed(tmp_path: Path) -> None:
    (tmp_path / "cases").mkdir()
    (tmp_path / "cases" / "a.png").symlink_to(picture(tmp_path / "archived.png"))
    assert read_scan(tmp_path / "cases" / "a.png").middle.shape == (64, 64)


@pytest.mark.parametrize("kind", ["EPS", "PPM", "GIF", "JPEG2000", "PDF"])
def test_a_format_that_is_not_named_is_not_tried(kind: str, tmp_path: Path) -> None:
    Image.new("L", (64, 64)).save(tmp_path / "a.png", format=kind)
    with pytest.raises(ScanError, match="not an image that medclip reads"):
        read_scan(tmp_path / "a.png")


def test_relative_names_follow_the_callers_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        picture(tmp_path / name / "a.png", 64 if name == "one" else 32)
        monkeypatch.chdir(tmp_path / name)
        assert len(read_scan(Path("a.png")).middle) == (64 if name == "one" else 32)
    with pytest.raises(ScanError, match=r"^b\.png: "):
        read_scan(Path("b.png"))


# a decoder that dies, hangs or outlives


def test_what_takes_too_long_is_stopped_and_the_next_scan_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = picture(tmp_path / "good.png")
    read_scan(good)
    Image.new("L", (9000, 9000)).save(tmp_path / "slow.png", compress_level=1)
    monkeypatch.setattr(decoding, "_SECONDS", 0.02)
    with pytest.raises(ScanError, match=r"slow\.png: takes over"):
        read_scan(tmp_path / "slow.png")
    monkeypatch.undo()
    assert read_scan(good).middle.shape == (64, 64)


def test_a_decoder_that_sleeps_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = picture(tmp_path / "good.png")
    read_scan(good)
    os.kill(decoder(), signal.SIGSTOP)
    monkeypatch.setattr(decoding, "_SECONDS", 0.05)
    monkeypatch.setattr(process, "_GRACE", 0.2)
    with pytest.raises(ScanError, match="takes over"):
        read_scan(good)
    monkeypatch.undo()
    assert read_scan(good).middle.shape == (64, 64)


def test_a_decoder_that_died_in_between_is_replaced(tmp_path: Path) -> None:
    good = picture(tmp_path / "good.png")
    read_scan(good)
    [idle] = decoding._decoders._idle[-1:]
    idle.handle.kill()
    idle.handle.wait()
    assert read_scan(good).middle.shape == (64, 64)


def test_a_slice_that_crashes_the_decoder_costs_itself_not_the_series(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, uid = pydicom.dcmread(real("CT_small.dcm")), generate_uid()
    for number in range(5):
        dataset.SeriesInstanceUID, dataset.ImagePositionPatient = uid, [0, 0, number]
        dataset.save_as(tmp_path / f"{number}.dcm")
    ask, crashed = decoding._decoders.ask, []

    def crashing(request: dict[str, Any], seconds: float, progress: Callable[[int], None]) -> Any:
        def at(position: int) -> None:
            progress(position)
            if position == 3 and not crashed:
                [busy] = decoding._decoders._all - set(decoding._decoders._idle)
                crashed.append(busy.handle.pid)
                os.kill(busy.handle.pid, signal.SIGSEGV)

        return ask(request, seconds, at)

    monkeypatch.setattr(decoding._decoders, "ask", crashing)
    scan = read_scan(tmp_path)
    assert len(crashed) == 1
    assert len(scan.pictures) == 4
    assert "1 left out: damaged" in scan.notes


def test_a_fork_has_decoders_of_its_own(tmp_path: Path) -> None:
    good = picture(tmp_path / "good.png")
    read_scan(good)
    mine = decoder()
    child = os.fork()
    if not child:
        try:
            read_scan(good)
            os._exit(0 if decoder() != mine else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    read_scan(good)
    assert decoder() == mine


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, None])
def test_no_decoder_outlives_the_program(how: signal.Signals | None, tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from medclip.modalities.scan import decoding, read;"
        f"read.read_scan(Path({str(picture(tmp_path / 'a.png'))!r}));"
        "print(decoding._decoders._idle[-1].handle.pid, flush=True); time.sleep(float(sys.argv[1]))"
    )
    program = subprocess.Popen([sys.executable, "-c", code, "60" if how else "0"], stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    pid = int(program.stdout.readline())
    if how:
        program.send_signal(how)
    program.wait(20)
    until = time.monotonic() + 10
    while is_running(pid) and time.monotonic() < until:
        time.sleep(0.02)
    assert not is_running(pid)
    program.stdout.close()


@pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="this system has no /proc")
def test_a_decoder_may_write_no_file_and_dump_no_memory(tmp_path: Path) -> None:
    read_scan(picture(tmp_path / "a.png"))
    limits = Path(f"/proc/{decoder()}/limits").read_text().splitlines()
    soft = {line[:25].strip(): line[25:].split()[0] for line in limits[1:]}
    assert (soft["Max file size"], soft["Max core file size"]) == ("0", "0")
    assert int(soft["Max address space"]) == decoding.MEMORY


# headers, which the importer reads in its own process


def _bare(*elements: bytes) -> bytes:
    """A file of implicit VR little endian without a preamble, which begins with an element of group 8."""
    return struct.pack("<HHL", 8, 0x16, 26) + b"1.2.840.10008.5.1.4.1.1.2\0" + b"".join(elements)


def test_a_header_cannot_take_more_than_its_file_holds(tmp_path: Path) -> None:
    file = tmp_path / "a.dcm"
    file.write_bytes(_bare(struct.pack("<HHL", 0x10, 0x4000, 0x7FFFFFF0), bytes(900)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    limit = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), limit[1]))
    try:
        header = read_header(file)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limit)
    assert header.SOPClassUID == "1.2.840.10008.5.1.4.1.1.2"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 << 10


@pytest.mark.parametrize("kind", ["deep", "many items", "many elements"])
def test_a_header_that_is_none_is_refused(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header_module, "_MOST_READS", 100_000)
    sequence, item = struct.pack("<HHL", 8, 0x1140, 0xFFFFFFFF), struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    empty = struct.pack("<HHL", 0xFFFE, 0xE000, 0)
    elements = {
        "deep": (sequence + item) * 5000,
        "many items": struct.pack("<HHL", 8, 0x1140, len(empty) * 300_000) + empty * 300_000,
        "many elements": struct.pack("<HHL", 0x10, 0x10, 0) * 110_000,
    }
    (tmp_path / "a.dcm").write_bytes(_bare(elements[kind]))
    with pytest.raises(ScanError, match="its header is larger than a scan's can be"):
        read_header(tmp_path / "a.dcm")


def test_what_is_wrong_with_a_header_is_not_told_with_the_patients_values(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(real("CT_small.dcm"))
    dataset.StudyInstanceUID = "DOE JANE"
    dataset.save_as(tmp_path / "a.dcm")
    code = (
        "import logging, sys; logging.basicConfig(level='DEBUG'); from pathlib import Path;"
        "from medclip.modalities.scan.header import read_header;"
        "print(read_header(Path(sys.argv[1])).StudyInstanceUID)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a.dcm"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "DOE JANE"
    assert "DOE" not in done.stderr
