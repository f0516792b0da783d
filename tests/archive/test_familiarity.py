"""A query's text in another language, or unlike all archived ones, is cautioned against."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from medclip.archive.familiarity import Familiarity, read_familiarity, write_familiarity
from medclip.archive.layout import FAMILIARITY
from medclip.archive.upkeep import compact_index
from medclip.archive.verify import verify_index
from medclip.assistant import Assistant
from medclip.errors import ArchiveError
from medclip.files.plain import write_json
from medclip.files.sealed import sealed
from medclip.index import CaseIndex, Entry
from medclip.index.records import Record, VectorView


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    with zipfile.ZipFile(Path(__file__).with_name("index-0.1.zip")) as stored:
        stored.extractall(tmp_path)
    return tmp_path / "index"


def _index(folder: Path, patients: list[str], vectors: np.ndarray) -> CaseIndex:
    folder.mkdir()
    kinds = ("report", "history", "scan")
    entries = [
        Entry(
            Record(f"c{n}", patient, {}, {}),
            [VectorView(kind, 0, vector, {}) for kind, vector in zip(kinds, three, strict=True)],
            {},
        )
        for n, (patient, three) in enumerate(zip(patients, vectors, strict=True))
    ]
    CaseIndex.create(folder, entries, fingerprint="0" * 64)
    return CaseIndex.open(folder)


def test_it_is_what_all_but_a_hundredth_of_the_texts_reach_to_another_patient(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(90, 3, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    patients = [f"p{n // 2}" for n in range(90)]
    index = _index(tmp_path / "index", patients, vectors)
    write_familiarity(index, tmp_path / "index" / FAMILIARITY)
    found = read_familiarity(index)
    texts = vectors[:, :2].reshape(-1, 8)
    owners = np.repeat(patients, 2)
    close = np.where(owners[:, None] == owners[None], -1, texts @ texts.T).max(1)
    assert found is not None
    assert found.texts == 180
    assert found.nearest == pytest.approx(np.quantile(close, 0.01), abs=1e-5)


def test_few_texts_say_nothing(tmp_path: Path) -> None:
    index = _index(tmp_path / "index", ["a", "b"], np.tile(np.eye(1, 8, dtype=np.float32), (2, 3, 1)))
    write_familiarity(index, tmp_path / "index" / FAMILIARITY)
    assert read_familiarity(index) == Familiarity(texts=4, nearest=None)


def test_an_earlier_index_has_none_until_it_is_compacted(kept: Path) -> None:
    assert not (kept / FAMILIARITY).exists()
    assert verify_index(kept).faults == []
    compact_index(kept)
    assert (kept / FAMILIARITY).is_file()
    assert verify_index(kept).faults == []


def test_a_damaged_one_is_said(kept: Path) -> None:
    compact_index(kept)
    file = kept / FAMILIARITY
    file.write_text(file.read_text().replace('"texts": ', '"texts": 1'))
    assert any(FAMILIARITY in fault and "compact" in fault for fault in verify_index(kept).faults)
    with pytest.raises(ArchiveError, match="index compact"):
        Assistant.open(kept).query(history=["a round cyst"])


def test_an_answer_cautions_against_a_text_that_is_unlike_all(kept: Path) -> None:
    write_json(kept / FAMILIARITY, sealed(Familiarity(texts=100, nearest=1.0005).model_dump()))
    assert "unlike" in " ".join(Assistant.open(kept).query(history=["a round cyst"]).answer.cautions)
    write_json(kept / FAMILIARITY, sealed(Familiarity(texts=100, nearest=-1).model_dump()))
    assert "unlike" not in " ".join(Assistant.open(kept).query(history=["a round cyst"]).answer.cautions)


def test_an_answer_cautions_against_a_language_that_is_not_read(kept: Path) -> None:
    asked = Assistant.open(kept).query(history=["Der Patient klagt über Husten und Fieber."])
    [caution] = [one for one in asked.answer.cautions if "German" in one]
    assert "Translate" in caution
