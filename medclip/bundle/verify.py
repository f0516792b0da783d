"""Is this folder the model that was trained? What ``medclip model verify`` asks without torch."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from safetensors import SafetensorError, safe_open

from medclip.bundle.layout import FORMAT, Layout, Manifest, TensorSpec, Weights, check_file, read_model
from medclip.bundle.serving import ServingModel
from medclip.errors import BundleError
from medclip.files.plain import open_regular, unreadable

__all__ = ["Verification", "verify_bundle"]

_REMEDY = "copy the folder again, or train the model again"
_DTYPES = {
    "F32": "torch.float32",
    "F16": "torch.float16",
    "I64": "torch.int64",
    "I32": "torch.int32",
    "U8": "torch.uint8",
}


@dataclass(frozen=True)
class Verification:
    """What was checked and found well."""

    files: int
    tensors: int
    onnx_cosine: float  # least cosine of a reference output, by onnxruntime
    fingerprint: str
    weights: tuple[Weights, ...]  # whose they are; nothing in a model of medclip 0.1


def _check_tensors(file: Path, expected: dict[str, TensorSpec]) -> None:
    """Every tensor by name, shape and type, from the file's header."""
    try:
        open_regular(file).close()
    except OSError as error:
        raise BundleError(f"{file}: {unreadable(error)}; {_REMEDY}") from error
    try:
        with safe_open(file, "numpy") as handle:
            names = set(handle.keys())
            for name in sorted(names | set(expected)):
                if name not in names or name not in expected:
                    raise BundleError(
                        f"{file}: tensor {name} is {'missing' if name in expected else 'left over'}; {_REMEDY}"
                    )
                part = handle.get_slice(name)
                shape, dtype = tuple(part.get_shape()), _DTYPES.get(part.get_dtype(), part.get_dtype())
                if shape != expected[name].shape or dtype != expected[name].dtype:
                    raise BundleError(f"{file}: tensor {name} is {dtype} {shape}, not as trained; {_REMEDY}")
    except SafetensorError as error:
        raise BundleError(f"{file}: is damaged; {_REMEDY}") from error


def verify_bundle(folder: Path) -> Verification:
    """Compare every file, every tensor and the reference outputs of a model folder with what training wrote.

    Raises:
        BundleError: something is missing, changed, left over, or gives other embeddings.
    """
    layout = Layout(folder)
    if not folder.is_dir():
        raise BundleError(f"{folder}: not found; train a model with  medclip train")
    manifest = read_model(layout.manifest, Manifest, _REMEDY)
    if manifest.format != FORMAT:
        raise BundleError(f"{layout.manifest}: has format {manifest.format}, this medclip reads {FORMAT}; {_REMEDY}")
    _check_tensors(layout.weights, manifest.tensors)
    for name, expected in manifest.sha256.items():
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise BundleError(f"{layout.manifest}: names a file outside the folder; {_REMEDY}")
        check_file(folder / name, expected, _REMEDY)
    serving = ServingModel(layout.serving.root)
    cosine = serving.verify_references()
    return Verification(
        len(manifest.sha256), len(manifest.tensors), cosine, serving.fingerprint, serving.manifest.weights
    )
