"""Cases of which nothing but measurements can be embedded: in an index and in an evaluation, by one rule."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from medclip.bundle.layout import ServingManifest
from medclip.bundle.serving import ServingModel
from medclip.cases.case import Case, Measurement, Note, Scan, Skipped
from medclip.cases.check import check_cases
from medclip.cases.manifest import write_cases
from medclip.embedding.embedder import Embedder
from medclip.errors import MeasurementError
from medclip.evaluation.crossval import _embedded
from medclip.modalities.measurements.coding import fit_coding
from medclip.training.features import CaseFeatures, gather

KEPT = Path(__file__).parents[1] / "archive" / "index-0.1.zip"


def _case(name: str, *measured: tuple[str, float, str], **values: object) -> Case:
    measurements = tuple(Measurement(name=one, value=value, unit=unit) for one, value, unit in measured)
    return Case(id=name, patient=name, measurements=measurements, **values)  # type: ignore[arg-type]


TRAINED_ON = [_case(f"t{i}", ("ferritin", 100.0 + 10 * i, "ug/L"), age=40 + i) for i in range(8)]
KNOWN = _case("known", ("ferritin", 0.2, "mg/L"), age=50)
UNKNOWN = _case("unknown", ("cortisol", 300.0, "nmol/L"), ("renin", 12.0, "ng/L"), age=50)
OTHER_UNIT = _case("other-unit", ("ferritin", 450.0, "pmol/L"))
WITH_TEXT = _case("with-text", ("ferritin", 450.0, "pmol/L"), notes=(Note(kind="findings", text="a round nodule"),))
UNREADABLE = _case("unreadable", scans=(Scan(file="missing.png"),), age=50)
MEASURED_TOO = _case("measured-too", ("ferritin", 130.0, "ug/L"), scans=(Scan(file="missing.png"),))


@pytest.fixture
def embedder(tmp_path: Path) -> Embedder:
    """A small model of an earlier medclip that knows age and ferritin."""
    with zipfile.ZipFile(KEPT) as stored:
        stored.extractall(tmp_path)
    [file] = (tmp_path / "index").rglob("serving.json")
    manifest = ServingManifest.model_validate_json(file.read_bytes())
    file.write_text(manifest.model_copy(update={"measurements": fit_coding(TRAINED_ON)}).model_dump_json())
    return Embedder(ServingModel(file.parent))


def test_a_case_of_measurements_alone_is_embedded_from_those_that_the_model_knows(
    embedder: Embedder, tmp_path: Path
) -> None:
    cases = [KNOWN, UNKNOWN, OTHER_UNIT, WITH_TEXT, UNREADABLE, MEASURED_TOO]
    found = {one.case_id if isinstance(one, Skipped) else one.case.id: one for one in embedder.cases(cases, tmp_path)}
    skipped = {name: one.reason for name, one in found.items() if isinstance(one, Skipped)}
    assert skipped.keys() == {"unknown", "other-unit", "unreadable"}
    assert skipped["unknown"] == "none of its measurements is known to this model: cortisol, renin"
    assert "'pmol/L' cannot be converted to ug/L" in skipped["other-unit"]
    assert "missing.png" in skipped["unreadable"]
    kept = {name: one for name, one in found.items() if not isinstance(one, Skipped)}
    assert [view.kind for view in kept["known"].views(embedder.fuser)] == ["measurements", "fused"]
    asked = embedder.query([], [], [], {"ferritin": 200.0, "age": 50.0})
    np.testing.assert_allclose(kept["known"].measurements, asked.parts.measurements, atol=1e-6)
    own = embedder.query([], [], [], KNOWN.measured)
    np.testing.assert_array_equal(own.parts.measurements, kept["known"].measurements)
    with pytest.raises(MeasurementError, match="ferritin: 'pmol/L' cannot be converted"):
        embedder.query([], [], [], OTHER_UNIT.measured)
    assert "missing.png" in kept["measured-too"].problems[0]
    assert "pmol/L" in kept["with-text"].problems[0]
    assert not np.any(kept["with-text"].measurements)


def test_an_evaluation_keeps_the_same_cases(embedder: Embedder, tmp_path: Path) -> None:
    cases = [KNOWN, UNKNOWN, OTHER_UNIT, WITH_TEXT]
    rows, texts = gather(cases, None)
    scans, written = np.zeros((1, 0, 4), np.float32), np.ones((len(texts), 4), np.float32)
    features = CaseFeatures(rows, scans, written, np.zeros(4, np.float32))
    evaluated = _embedded(features, scans[0], written, embedder.coding)
    indexed = [one for one in embedder.cases(cases, tmp_path) if not isinstance(one, Skipped)]
    assert [one.case.id for one in evaluated] == [one.case.id for one in indexed] == ["known", "with-text"]
    for one, other in zip(evaluated, indexed, strict=True):
        np.testing.assert_array_equal(one.measurements, other.measurements)


def test_a_check_names_the_values_that_cannot_be_compared(tmp_path: Path) -> None:
    write_cases(tmp_path, [*TRAINED_ON, KNOWN, OTHER_UNIT])
    [problem] = [problem for problem in check_cases(tmp_path).problems if problem.kind == "other-unit"]
    assert (problem.severity, problem.case_ids) == ("warning", ["other-unit"])
    assert problem.message == "ferritin in pmol/L, which cannot be converted to ug/L: left out"
