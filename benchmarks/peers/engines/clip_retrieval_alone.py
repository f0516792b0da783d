"""clip-retrieval's back end, without its server: its knn service over a FAISS index and metadata in Arrow files.

A question in words needs CLIP's weights, which no package carries, so it is asked by embeddings, which its service
accepts; over HTTP it would take longer.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from peers.base import CannotError, Effort, Found, Peer
from peers.data import Data, Row, row
from peers.filtering import post_filtered, threads

_SHOWN = ["case_id", "patient", "label", "text"]


class ClipRetrieval(Peer):
    """Built as ``clip-retrieval index`` builds, asked through its `KnnService`."""

    modules = ("clip_retrieval.clip_back", "clip_retrieval.clip_index", "torch")
    title = "clip-retrieval"
    packages = ("clip-retrieval==2.45.*", "setuptools<80")
    distributions = ("clip-retrieval", "autofaiss", "faiss-cpu")
    environment = "clip-retrieval"
    setup = "clip_index() with its defaults (autofaiss chooses), KnnService with Arrow metadata and a mapped index, no dedup"
    durable = "its files are written whole"
    filtering = "after"
    crowd = "processes"
    efforts = tuple({"scale": s} for s in (0.02, 0.05, 0.1, 0.25, 0.5, 2, 4, 8))

    def build(self, data: Data) -> None:
        import pyarrow as pa
        from clip_retrieval.clip_index import clip_index

        given, folder = self.folder / "given", self.folder / "index"
        (given / "img_emb").mkdir(parents=True)
        (given / "metadata").mkdir()
        schema = pa.schema([(name, pa.string()) for name in _SHOWN])
        with pa.OSFile(str(given / "metadata" / "0.arrow"), "wb") as sink, pa.ipc.new_file(sink, schema) as out:
            for number, (start, x) in enumerate(data.chunks()):
                np.save(given / "img_emb" / f"{number:06d}.npy", x)
                shown = [row(start + i).shown for i in range(len(x))]
                columns = [pa.array(list(column)) for column in zip(*shown, strict=True)]
                out.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
        folder.mkdir()
        clip_index(str(given), str(folder), current_memory_available="12G", nb_cores=threads())
        np.save(self.folder / "ages.npy", data.ages())
        for file in (given / "img_emb").iterdir():
            file.unlink()  # what it was built from is no part of it

    def open(self) -> None:
        import json

        import faiss
        from clip_retrieval.clip_back import ClipResource, KnnService, load_index, load_metadata_provider

        folder = str(self.folder / "index")
        index = load_index(f"{folder}/image.index", True)
        provider, mapping = load_metadata_provider(folder, False, False, index, _SHOWN, True)
        empty = dict.fromkeys(
            ("model", "preprocess", "tokenizer", "model_txt_mclip", "safety_model", "violence_detector", "text_index",
             "aesthetic_embeddings")
        )  # fmt: skip
        resource = ClipResource(
            device="cpu", metadata_provider=provider, image_index=index, ivf_old_to_new_mapping=mapping,
            columns_to_return=_SHOWN, metadata_is_ordered_by_ivf=False, **empty,
        )  # fmt: skip
        self.service = KnnService(clip_resources={"cases": resource})
        self.index = index
        self.ages = np.load(self.folder / "ages.npy")
        self.parameters = json.loads((self.folder / "index" / "image.json").read_text())["index_param"]
        self.space = faiss.ParameterSpace()
        self.spent: Effort = {}
        faiss.omp_set_num_threads(1)

    def search(self, vector: np.ndarray, k: int, effort: Effort, below: float | None) -> Found:
        if effort != self.spent:
            parts = [part.split("=") for part in self.parameters.split(",") if part]
            scale = effort.get("scale", 1)
            scaled = [f"{n}={v if n == 'ht' else max(1, round(float(v) * scale))}" for n, v in parts]
            self.space.set_index_parameters(self.index, ",".join(scaled))
            self.spent = effort
        if below is None:
            return self._rows(self._ask(vector, k, k))
        # Its service shows all that it found, so what passes is looked up among more.
        found: list[dict[str, Any]] = []

        def near(want: int) -> np.ndarray:
            found.extend(self._ask(vector, want, want))
            return np.asarray([one["id"] for one in found])

        chosen = post_filtered(near, self.ages, k, below, len(self.ages))
        by_number = {one["id"]: one for one in found}
        return self._rows([by_number[n] for n in chosen])

    def _ask(self, vector: np.ndarray, results: int, shown: int) -> list[dict[str, Any]]:
        return self.service.query(
            embedding_input=vector.tolist(), num_images=shown, num_result_ids=results, deduplicate=False
        )

    def _rows(self, found: list[dict[str, Any]]) -> Found:
        return [tuple(one[name] for name in _SHOWN) for one in found]

    def add(self, rows: Sequence[Row], vectors: np.ndarray) -> None:  # noqa: ARG002
        raise CannotError("its users build anew")

    def remove_patient(self, patient: str, numbers: Sequence[int]) -> None:  # noqa: ARG002
        raise CannotError("its users build anew")

    def has(self, numbers: Iterable[int]) -> set[int]:
        return {n for n in numbers if n < len(self.ages)}


PEERS = {"clip-retrieval": ClipRetrieval}
