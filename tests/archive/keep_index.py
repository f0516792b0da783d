"""Makes the index that tests/archive/index-0.1.zip keeps: a handful of cases, and a model of a few kilobytes.

It was made by the code of 2026-11-26, before the rooms were rebuilt (commit de20774), to be opened by all that comes
after: ``PYTHONPATH=. python tests/archive/keep_index.py OUT.zip``. Modules have moved since, hence the imports by name.
The graphs are written out by hand: a tower of scans is a picture's rows, one of texts the sum of its words' vectors.
"""

import importlib
import json
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

SIDE, WIDTH, BASE = 8, 8, 12
WORDS = (
    "a", "the", "of", "in", "nodule", "collection", "cyst", "lung", "liver", "kidney", "head", "chest", "abdomen",
    "round", "clear", "fluid", "no",
)  # fmt: skip


def _first(*names: str) -> Any:
    """The first of these modules that there is."""
    for name in names:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise ImportError(names[0])


def _graph(file: Path, nodes: Sequence[Any], input_: Any, output: Any, **weights: np.ndarray[Any, Any]) -> None:
    kept = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "tiny", [input_], [output], kept)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    file.write_bytes(model.SerializeToString())


def _value(name: str, kind: int, *shape: Any) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def _write_graphs(folder: Path, rng: np.random.Generator) -> None:
    node = helper.make_node
    _graph(
        folder / "scan_tower.onnx",
        [node("Cast", ["input"], ["x"], to=TensorProto.FLOAT), node("ReduceMean", ["x"], ["y"], axes=[1], keepdims=0),
         node("Div", ["y", "white"], ["output"])],
        _value("input", TensorProto.UINT8, "n", SIDE, SIDE), _value("output", TensorProto.FLOAT, "n", WIDTH),
        white=np.float32(255),
    )  # fmt: skip
    _graph(
        folder / "text_tower.onnx",
        [node("Gather", ["table", "input"], ["x"]), node("ReduceSum", ["x", "axis"], ["output"], keepdims=0)],
        _value("input", TensorProto.INT64, "n", "tokens"), _value("output", TensorProto.FLOAT, "n", WIDTH),
        table=np.concatenate([np.zeros((1, WIDTH)), rng.normal(size=(len(WORDS) + 1, WIDTH))]).astype(np.float32),
        axis=np.asarray([1], np.int64),
    )  # fmt: skip
    _graph(
        folder / "scan_attention.onnx", [node("MatMul", ["input", "w"], ["output"])],
        _value("input", TensorProto.FLOAT, "n", WIDTH), _value("output", TensorProto.FLOAT, "n", 1),
        w=rng.normal(size=(WIDTH, 1)).astype(np.float32),
    )  # fmt: skip
    for name in ("scan_head", "text_head"):
        _graph(
            folder / f"{name}.onnx",
            [node("MatMul", ["input", "w"], ["x"]), node("LpNormalization", ["x"], ["output"], axis=1, p=2)],
            _value("input", TensorProto.FLOAT, "n", WIDTH), _value("output", TensorProto.FLOAT, "n", BASE),
            w=rng.normal(size=(WIDTH, BASE)).astype(np.float32),
        )  # fmt: skip


def _write_tokenizer(file: Path) -> None:
    known = {word: number for number, word in enumerate(["[pad]", "[other]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(known, unk_token="[other]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(file))


def _write_model(folder: Path, rng: np.random.Generator) -> None:
    """A serving folder as training writes it."""
    layout, tokens = _first("medclip.bundle.layout"), _first("medclip.modalities.text.tokens")
    prepare, coding = _first("medclip.modalities.scan.prepare"), _first("medclip.modalities.measurements.coding")
    digest_of = _first("medclip.files.plain", "medclip.files").digest_of
    write_tensors = _first("medclip.files.tensors", "medclip.tensors").write_tensors
    serving = _first("medclip.bundle.serving")
    folder.mkdir(parents=True)
    _write_graphs(folder, rng)
    _write_tokenizer(folder / "tokenizer.json")
    how = prepare.Preprocessing(size=SIDE, resize="pad", interpolation="bilinear", mean=(0, 0, 0), std=(1, 1, 1))
    reading = tokens.TextReading(context_length=16, prefix=(), suffix=(), pad=0, fixed_length=False, scripts=("LATIN",))
    pictures = [rng.integers(0, 256, (20, 16 + 4 * i), dtype=np.uint8) for i in range(2)]
    texts = ["a round nodule of the lung", "fluid in the abdomen, no cyst"]
    prepared = np.stack([prepare.prepare_scan(picture, how) for picture in pictures])
    graphs = [
        folder / f"{name}.onnx" for name in ("scan_tower", "text_tower", "scan_attention", "scan_head", "text_head")
    ]

    def manifest(files: Sequence[Path]) -> None:
        written = layout.ServingManifest(
            format=layout.FORMAT, preprocessing=how, reading=reading, base=BASE, aligned=BASE, aligned_share=1.0,
            measurements=coding.MeasurementCoding(), fuser="sum", joint=0, joint_share=0, synthetic=True,
            sha256={file.name: digest_of(file) for file in files},
        )  # fmt: skip
        (folder / "serving.json").write_text(written.model_dump_json(indent=2) + "\n", encoding="utf-8")

    references = folder / "probes.safetensors"
    write_tensors(references, {})
    manifest([*graphs, folder / "tokenizer.json", references])
    model = serving.ServingModel(folder)
    write_tensors(
        references,
        {
            "prepared": prepared,
            "scan_embeddings": model.embed_scans([*([picture] for picture in prepared), list(prepared)]),
            "text_embeddings": model.embed_texts(texts),
            **{f"picture_{i}": picture for i, picture in enumerate(pictures)},
            **{f"text_{i}": np.frombuffer(text.encode(), np.uint8).copy() for i, text in enumerate(texts)},
        },
    )
    manifest([*graphs, folder / "tokenizer.json", references])


def _write_cases(folder: Path, rng: np.random.Generator) -> None:
    """Twelve cases of six patients, who have one of two findings: bright above, or bright below."""
    (folder / "scans").mkdir(parents=True)
    rows = []
    for number in range(12):
        finding = ("nodule", "cyst")[number % 2]
        picture = rng.integers(0, 60, (24, 24))
        picture[:, (2 if finding == "nodule" else 14) : (10 if finding == "nodule" else 22)] += 180
        Image.fromarray(picture.astype(np.uint8)).save(folder / "scans" / f"c{number}.png")
        rows.append(
            {
                "id": f"c{number}", "patient": f"p{number % 6}",
                "scans": [{"file": f"scans/c{number}.png", "modality": "CT", "caption": f"a round {finding} of the lung"}],
                "notes": [{"kind": "history", "text": "no fluid in the chest"}],
                "labels": {"finding": finding}, "age": 40 + number, "sex": "female", "synthetic": True,
                "outcome": {"diagnosis": f"{finding}, drawn", "treatment": "none"},
            }
        )  # fmt: skip
    (folder / "cases.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


def main(out: Path) -> None:
    """Make cases, model and index, and keep the index with one of the scans and the answer to it."""
    rng = np.random.default_rng(0)
    build_index = _first("medclip.archive.build", "medclip.archive").build_index
    assistant = _first("medclip.assistant").Assistant
    read_cases = _first("medclip.cases").read_cases
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        _write_model(work / "model" / "serving", rng)
        _write_cases(work / "cases", rng)
        build_index(read_cases(work / "cases"), work / "cases", work / "model", work / "index")
        asked = assistant.open(work / "index").query([work / "cases" / "scans" / "c1.png"], ["a round cyst"])
        (work / "answer.json").write_text(asked.answer.model_dump_json(indent=1), encoding="utf-8")
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as kept:
            for file in sorted((work / "index").rglob("*")):
                kept.write(file, Path("index") / file.relative_to(work / "index"))
            kept.write(work / "cases" / "scans" / "c1.png", "query.png")
            kept.write(work / "answer.json", "answer.json")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
