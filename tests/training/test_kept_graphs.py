"""Exported towers are kept for the next training, and never believed."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra train")

from medclip.bundle.serving import session  # noqa: E402
from medclip.errors import BundleError  # noqa: E402
from medclip.training import kept_graphs  # noqa: E402
from medclip.training.export import export_graph, require_equal  # noqa: E402
from medclip.training.kept_graphs import kept_graph  # noqa: E402


class Tower(torch.nn.Module):
    """A layer."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(3, 2)
        torch.nn.init.constant_(self.linear.weight, weight)

    def forward(self, x: "torch.Tensor") -> "torch.Tensor":
        found: torch.Tensor = self.linear(x)
        return found


pytestmark = pytest.mark.slow

SAMPLE = torch.tensor([[1.0, 2.0, 3.0], [0.0, 1.0, 0.5]])


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "medclip" / "towers"


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files that were exported, not taken from the cache."""
    seen: list[Path] = []

    def counted(module: object, sample: object, file: Path, **how: bool) -> None:
        seen.append(file)
        export_graph(module, sample, file, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(kept_graphs, "export_graph", counted)
    return seen


def _given(file: Path) -> "np.ndarray":  # type: ignore[type-arg]
    return np.asarray(session(file).run(None, {"input": SAMPLE.numpy()})[0])


def test_the_same_tower_is_exported_once(cache: Path, tmp_path: Path, exports: list[Path]) -> None:
    torch.manual_seed(0)
    one, other = Tower(0.5), Tower(0.25)
    for name in ("a", "b"):
        kept_graph(one, SAMPLE, tmp_path / name)
    assert exports == [tmp_path / "a"]
    np.testing.assert_allclose(_given(tmp_path / "b"), one(SAMPLE).detach(), rtol=1e-5)
    kept_graph(other, SAMPLE, tmp_path / "c")
    np.testing.assert_allclose(_given(tmp_path / "c"), other(SAMPLE).detach(), rtol=1e-5)
    assert exports == [tmp_path / "a", tmp_path / "c"]
    assert cache.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("content", ["damaged", "another tower's"])
def test_a_kept_graph_that_is_not_the_tower_s_is_made_anew(
    content: str, cache: Path, tmp_path: Path, exports: list[Path]
) -> None:
    tower = Tower(0.5)
    kept_graph(tower, SAMPLE, tmp_path / "a")
    [kept] = cache.iterdir()
    export_graph(Tower(0.75), SAMPLE, tmp_path / "other")
    kept.write_bytes(b"\x00" * 99 if content == "damaged" else (tmp_path / "other").read_bytes())
    kept_graph(tower, SAMPLE, tmp_path / "b")
    assert exports == [tmp_path / "a", tmp_path / "b"]
    for file in (tmp_path / "b", kept):
        np.testing.assert_allclose(_given(file), tower(SAMPLE).detach(), rtol=1e-5)


def test_what_another_user_could_have_written_is_not_taken(cache: Path, tmp_path: Path, exports: list[Path]) -> None:
    tower = Tower(0.5)
    kept_graph(tower, SAMPLE, tmp_path / "a")
    cache.chmod(0o777)
    kept_graph(tower, SAMPLE, tmp_path / "b")
    assert exports == [tmp_path / "a", tmp_path / "b"]


def test_where_nothing_can_be_kept_it_is_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exports: list[Path]
) -> None:
    (tmp_path / "taken").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "taken"))
    for name in ("a", "b"):
        kept_graph(Tower(0.5), SAMPLE, tmp_path / name)
    assert len(exports) == 2


def test_few_are_kept(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_graphs, "_MOST", 2)
    for weight in (0.1, 0.2, 0.3):
        kept_graph(Tower(weight), SAMPLE, tmp_path / "a")
    assert len(list(cache.iterdir())) == 2


def test_a_graph_of_another_width_differs(tmp_path: Path) -> None:
    export_graph(torch.nn.Linear(3, 1), SAMPLE, tmp_path / "a")
    with pytest.raises(BundleError, match="differs from torch"):
        require_equal(Tower(0.5), SAMPLE, tmp_path / "a")


def test_a_graph_so_large_that_the_exporter_parts_it_is_one_file_anyway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch.onnx._internal.exporter import _onnx_program

    from medclip.training.export import export_graph

    monkeypatch.setattr(_onnx_program, "_LARGE_MODEL_THRESHOLD", 100)  # bytes, instead of a gigabyte and a half
    layer = torch.nn.Linear(300, 300)
    export_graph(layer, torch.randn(3, 300), tmp_path / "tower.onnx")
    assert [file.name for file in tmp_path.iterdir()] == ["tower.onnx"]
    assert (tmp_path / "tower.onnx").stat().st_size > 4 * 300 * 300
