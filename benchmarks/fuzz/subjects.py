"""What is mutated: scans of every format, a cases folder, and a model, an index and an export so small that copying is cheap."""

import csv
import json
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers

from medclip.archive.build import build_index
from medclip.archive.moving import export_index
from medclip.bundle.layout import FORMAT, Layout, Manifest, ServingManifest, TensorSpec
from medclip.bundle.serving import ServingModel
from medclip.cases.manifest import read_cases
from medclip.files.plain import digest_of
from medclip.index import planner
from medclip.modalities.measurements.coding import fit_coding
from medclip.modalities.scan.prepare import Preprocessing, prepare_scan
from medclip.modalities.text.tokens import TextReading

__all__ = ["Subjects", "make_subjects"]

_SIDE, _FEATURES, _BASE, _ALIGNED = 24, 12, 16, 8
_CASES = 14
_LARGEST = 600_000  # bytes of a scan
_WORDS = (
    "a",
    "nodule",
    "effusion",
    "cyst",
    "of",
    "the",
    "left",
    "right",
    "lung",
    "with",
    "fever",
    "cough",
    "no",
    "normal",
)
_COLUMNS = ("case", "patient", "scan", "modality", "caption", "history", "findings", "age", "sex")


@dataclass(frozen=True)
class Subjects:
    """Where the originals are."""

    root: Path

    @property
    def scans(self) -> Path:
        return self.root / "scans"

    @property
    def cases(self) -> Path:
        return self.root / "cases"

    @property
    def source(self) -> Path:
        """What ``cases import folder`` reads."""
        return self.root / "source"

    @property
    def bundle(self) -> Path:
        return self.root / "bundle"

    @property
    def index(self) -> Path:
        return self.root / "index"

    @property
    def export(self) -> Path:
        return self.root / "export.jsonl.gz"


def make_subjects(subjects: Subjects) -> None:
    """Make the originals in a new folder."""
    rng = np.random.default_rng(0)
    subjects.root.mkdir()
    _make_scans(subjects.scans, rng)
    _make_cases(subjects.cases, rng)
    _make_source(subjects.source, rng)
    _make_bundle(subjects, rng)
    small, planner.SMALL = planner.SMALL, 8  # so that there is a segment
    build_index(read_cases(subjects.cases), subjects.cases, subjects.bundle, subjects.index)
    planner.SMALL = small
    export_index(subjects.index, subjects.export)


def _picture(rng: np.random.Generator, side: int = 40) -> Image.Image:
    return Image.fromarray(np.clip(rng.normal(120, 50, (side, side)), 0, 255).astype(np.uint8))


def _make_scans(folder: Path, rng: np.random.Generator) -> None:
    """Links to pydicom's files, and pictures and volumes of every kind."""
    import data_store
    import nibabel
    import pydicom

    folder.mkdir()
    roots = (Path(pydicom.__file__).parent / "data" / "test_files", Path(data_store.__file__).parent / "data")
    for number, root in enumerate(roots):
        for file in sorted(root.rglob("*.dcm")):
            if file.stat().st_size < _LARGEST:
                (folder / f"{number}-{file.name}").write_bytes(file.read_bytes())
    grey = _picture(rng, 96)
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 200)
    colour = Image.merge("RGBA", [_picture(rng, 96) for _ in range(4)])
    grey.save(folder / "grey.png")
    deep.save(folder / "deep.png")
    colour.save(folder / "colour.png")
    grey.quantize(16).save(folder / "palette.png")
    grey.save(folder / "grey.jpg")
    colour.convert("RGB").save(folder / "progressive.jpg", progressive=True)
    colour.convert("CMYK").save(folder / "cmyk.jpg")
    grey.save(folder / "grey.bmp")
    for kind in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "group4"):
        image = grey.convert("1") if kind == "group4" else grey
        image.save(folder / f"{kind}.tif", compression=kind, save_all=True, append_images=[image] * 3)
    deep.save(folder / "deep.tif", compression="tiff_adobe_deflate")
    volume = rng.normal(100, 40, (48, 40, 20)).astype(np.int16)
    for name, kind in (
        ("one.nii", nibabel.Nifti1Image),
        ("one.nii.gz", nibabel.Nifti1Image),
        ("two.nii", nibabel.Nifti2Image),
    ):
        image = kind(volume, np.diag([1, 1, 3, 1]))
        image.header.set_slope_inter(0.5, 10)
        nibabel.save(image, folder / name)
    nibabel.save(nibabel.Nifti1Image(volume.astype(np.complex64), np.eye(4)), folder / "complex.nii.gz")


def _text(rng: random.Random) -> str:
    return " ".join(rng.choices(_WORDS, k=rng.randrange(4, 14)))


def _make_cases(folder: Path, rng: np.random.Generator) -> None:
    (folder / "scans").mkdir(parents=True)
    words = random.Random(0)
    lines = []
    for number in range(_CASES):
        _picture(rng).save(folder / "scans" / f"{number}.png")
        lines.append(
            {
                "id": f"c{number}",
                "patient": f"p{number // 2}",
                "scans": [{"file": f"scans/{number}.png", "modality": "CR", "caption": _text(words)}],
                "notes": [{"kind": "history", "text": _text(words)}, {"kind": "findings", "text": _text(words)}],
                "measurements": [{"name": "temperature", "value": 36 + words.random() * 4, "unit": "Cel"}],
                "labels": {"finding": ("nodule", "none")[number % 2]},
                "outcome": {"diagnosis": _text(words), "treatment": _text(words)},
                "age": 30 + number,
                "sex": "female",
                "split": "train",
                "source": "fuzz",
            }
        )
    (folder / "cases.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def _make_source(folder: Path, rng: np.random.Generator) -> None:
    folder.mkdir()
    words = random.Random(1)
    with (folder / "cases.csv").open("w", newline="") as out:
        table = csv.writer(out)
        table.writerow([*_COLUMNS, "label.finding", "measure.temperature"])
        for number in range(4):
            _picture(rng).save(folder / f"{number}.png")
            row = (f"c{number}", f"p{number}", f"{number}.png", "CR", _text(words), _text(words), _text(words))
            table.writerow([*row, 50, "female", "nodule", "38.5 Cel"])


# ---- a model whose towers are random matrices


def _graph(
    file: Path, given: tuple[str, int, list[int | str]], nodes: list[onnx.NodeProto], **weights: np.ndarray
) -> None:
    name, kind, shape = given
    graph = helper.make_graph(
        nodes,
        file.stem,
        [helper.make_tensor_value_info(name, kind, shape)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", "d"])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), file)


def _matrix(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    return (rng.normal(size=(rows, columns)) / rows**0.5).astype(np.float32)


def _make_graphs(serving: Path, rng: np.random.Generator) -> None:
    node = helper.make_node
    _graph(
        serving / "scan_tower.onnx",
        ("pictures", TensorProto.UINT8, ["n", _SIDE, _SIDE]),
        [
            node("Cast", ["pictures"], ["float"], to=TensorProto.FLOAT),
            node("Flatten", ["float"], ["flat"]),
            node("Div", ["flat", "top"], ["scaled"]),
            node("MatMul", ["scaled", "weight"], ["out"]),
        ],
        weight=_matrix(rng, _SIDE * _SIDE, _FEATURES),
        top=np.asarray(255, np.float32),
    )
    _graph(
        serving / "text_tower.onnx",
        ("tokens", TensorProto.INT64, ["n", "t"]),
        [node("Gather", ["weight", "tokens"], ["words"]), node("ReduceMean", ["words"], ["out"], axes=[1], keepdims=0)],
        weight=_matrix(rng, 128, _FEATURES),
    )
    rows: tuple[str, int, list[int | str]] = ("rows", TensorProto.FLOAT, ["n", _FEATURES])
    _graph(
        serving / "scan_attention.onnx",
        rows,
        [node("MatMul", ["rows", "weight"], ["out"])],
        weight=_matrix(rng, _FEATURES, 1),
    )
    for name in ("scan_head", "text_head"):
        nodes = [node("MatMul", ["rows", "weight"], ["long"]), node("LpNormalization", ["long"], ["out"], axis=1, p=2)]
        _graph(serving / f"{name}.onnx", rows, nodes, weight=_matrix(rng, _FEATURES, _BASE))


def _make_tokenizer(file: Path) -> None:
    vocabulary = {word: number for number, word in enumerate(["[UNK]", *_WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(file))


def _make_bundle(subjects: Subjects, rng: np.random.Generator) -> None:
    layout = Layout(subjects.bundle)
    serving = layout.serving
    serving.root.mkdir(parents=True)
    _make_graphs(serving.root, rng)
    _make_tokenizer(serving.tokenizer)
    how = Preprocessing(size=_SIDE, resize="pad", interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3)
    manifest = ServingManifest(
        format=FORMAT,
        preprocessing=how,
        reading=TextReading(context_length=8, prefix=(), suffix=(), pad=0, fixed_length=False, scripts=("LATIN",)),
        base=_BASE,
        aligned=_ALIGNED,
        aligned_share=0.5,
        measurements=fit_coding(read_cases(subjects.cases)),
        fuser="sum",
        joint=0,
        joint_share=0,
        synthetic=True,
        sha256={},
    )
    pictures = [np.asarray(_picture(rng)) for _ in range(2)]
    texts = ["a nodule of the left lung", "no effusion"]
    stored = {
        "prepared": np.stack([prepare_scan(picture, how) for picture in pictures]),
        **{f"picture_{i}": picture for i, picture in enumerate(pictures)},
        **{f"text_{i}": np.frombuffer(text.encode(), np.uint8) for i, text in enumerate(texts)},
    }
    save_file(stored, serving.references)
    sign(layout, manifest)
    model = ServingModel(serving.root)
    prepared = stored["prepared"]
    stored["scan_embeddings"] = model.embed_scans([*([picture] for picture in prepared), list(prepared)])
    stored["text_embeddings"] = model.embed_texts(texts)
    save_file(stored, serving.references)
    save_file({"towers.weight": np.zeros((3, 2), np.float32)}, layout.weights)
    layout.training.write_text(json.dumps({"towers": "random"}))
    layout.card.write_text("A model of random numbers.\n")
    sign(layout, manifest)


def sign(layout: Layout, manifest: ServingManifest) -> None:
    """Write both manifests anew, with the checksums of the files as they are."""
    files = {
        file.name: digest_of(file)
        for file in layout.serving.listed(manifest.fuser, manifest.orientations)
        if file.is_file()
    }
    layout.serving.manifest.write_text(manifest.model_copy(update={"sha256": files}).model_dump_json(indent=2))
    all_files = [path for path in sorted(layout.root.rglob("*")) if path.is_file() and path != layout.manifest]
    tensors = {"towers.weight": TensorSpec(shape=(3, 2), dtype="torch.float32")}
    sums = {path.relative_to(layout.root).as_posix(): digest_of(path) for path in all_files}
    bundle = Manifest(format=FORMAT, towers="random", tensors=tensors, sha256=sums)
    layout.manifest.write_text(bundle.model_dump_json(indent=2))
