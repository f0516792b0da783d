"""`make bench-viewer`: how many frames a second the viewer draws while window and level are dragged, in headless Chromium.

The question is a drawn CT series of 512 × 512 stored 16-bit values; it stands beside the most similar archived scan, in step.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from tests.server.browser.served import SCREEN, browser, chromium, serving, watched

SIDE, SLICES, SECONDS = 512, 24, 5

COUNT = """
window.drawn = 0;
const put = CanvasRenderingContext2D.prototype.putImageData;
CanvasRenderingContext2D.prototype.putImageData = function (picture, ...rest) {
  if (picture.width === %d) window.drawn += 1;
  return put.call(this, picture, ...rest);
};
"""

DRAG = """
async (seconds) => {
  const canvas = document.querySelector(".pane canvas"), box = canvas.getBoundingClientRect();
  const at = (kind, x, y) => canvas.dispatchEvent(new PointerEvent(kind, {
    pointerId: 1, button: 0, bubbles: true, clientX: box.x + box.width / 2 + x, clientY: box.y + box.height / 2 + y,
  }));
  canvas.setPointerCapture = () => {};
  at("pointerdown", 0, 0);
  window.drawn = 0;
  const began = performance.now();
  let step = 0;
  await new Promise((done) => {
    const next = () => {
      if (performance.now() - began > 1000 * seconds) return done();
      step += 1;
      at("pointermove", 100 * Math.sin(step / 10), 60 * Math.cos(step / 13));
      requestAnimationFrame(next);
    };
    next();
  });
  const passed = (performance.now() - began) / 1000;
  at("pointerup", 0, 0);
  return window.drawn / passed;
}
"""


def _series(folder: Path) -> list[Path]:
    """A cylinder of water with two lungs, and noise."""
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    values = np.where((x / 0.85) ** 2 + (y / 0.65) ** 2 < 1, 40.0, -1000.0)
    for side in (-0.38, 0.38):
        values[((x - side) / 0.27) ** 2 + (y / 0.42) ** 2 < 0.9] = -820
    noise = np.random.default_rng(0).normal(0, 12, values.shape)
    series, files = generate_uid(), []
    for number in range(SLICES):
        made = dcmread(str(get_testdata_file("CT_small.dcm")))
        made.SeriesInstanceUID, made.SOPInstanceUID = series, generate_uid()
        made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        made.Rows = made.Columns = SIDE
        made.PixelRepresentation, made.RescaleSlope, made.RescaleIntercept = 1, 1, -1024
        made.InstanceNumber, made.ImagePositionPatient = number + 1, [0, 0, 2.0 * number]
        made.PixelData = np.round(values + noise + 1024).astype(np.int16).tobytes()
        files.append(folder / f"{number:03}.dcm")
        made.save_as(files[-1])
    return files


def _measured(page: Any, link: str, files: list[Path]) -> float:
    page.add_init_script(COUNT % SIDE)
    page.goto(link)
    page.get_by_role("heading", name="What is known of the patient?").wait_for()
    page.locator("input[name=scans]").first.set_input_files(files)
    page.get_by_role("button", name="Find similar cases").click()
    page.wait_for_url("**/questions/*")
    page.get_by_role("link", name="Compare side by side").first.click()
    while not page.evaluate("window.drawn"):  # wait_for_function evaluates a text, which our pages forbid
        page.wait_for_timeout(100)
    return float(page.evaluate(DRAG, SECONDS))


def main(demo: Path) -> None:
    """Print the frames of each of five runs."""
    if chromium() is None:
        sys.exit("no Chromium is installed: sh .ci/chromium.sh")
    with tempfile.TemporaryDirectory() as scratch, tempfile.TemporaryDirectory() as drawn:
        files = _series(Path(drawn))
        originals = ("--originals", str(demo / "cases"))
        with serving(demo / "index", Path(scratch), *originals) as site, browser() as chrome:
            runs = []
            for _ in range(5):
                with watched(chrome, site, SCREEN) as seen:
                    seen.page.goto(site.address)
                    seen.page.get_by_label("Token").fill(site.token)
                    seen.page.get_by_role("button", name="Enter").click()
                    runs.append(_measured(seen.page, site.address, files))
    told = ", ".join(f"{one:.0f}" for one in sorted(runs))
    print(f"window and level by dragging, {SIDE} × {SIDE}, beside an archived scan in step: {told} frames a second")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
