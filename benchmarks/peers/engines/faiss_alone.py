"""FAISS called directly, and autofaiss, which chooses an index of it: vectors under numbers, in a file written whole.

Filters are FAISS's own: a selector over the numbers that pass, which its user keeps in a column beside it.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from peers.base import CannotError, Effort, Found, Peer
from peers.data import Data, Row
from peers.filtering import shown, threads


class Faiss(Peer):
    """What the FAISS indexes share."""

    modules = ("faiss",)
    packages = ("faiss-cpu==1.15.*", "numpy")
    distributions = ("faiss-cpu",)
    environment = "faiss"
    durable = "nothing until write_index(), which writes the whole file in place"
    keeps_records = False
    crowd = "threads"

    def _make(self, data: Data) -> Any:
        raise NotImplementedError

    def build(self, data: Data) -> None:
        import faiss

        faiss.omp_set_num_threads(threads())
        index = self._make(data)
        for _, x in data.chunks():
            index.add(x)
        faiss.write_index(index, str(self.folder / "faiss"))
        np.save(self.folder / "ages.npy", data.ages())

    def open(self) -> None:
        import faiss

        self._opened(faiss.read_index(str(self.folder / "faiss")))
        faiss.omp_set_num_threads(1)

    def _opened(self, index: Any) -> None:
        self.index = index
        self.ages = np.load(self.folder / "ages.npy")
        added = self.folder / "added.npy"
        self.numbers: list[int] = np.load(added).tolist() if added.exists() else []
        self.passing: dict[float, Any] = {}

    def _selector(self, below: float | None) -> Any:
        import faiss

        if below is None:
            return None
        if below not in self.passing:
            bits = np.packbits(np.pad(self.ages < below, (0, -len(self.ages) % 8)), bitorder="little")
            self.passing[below] = (bits, faiss.IDSelectorBitmap(bits))
        return self.passing[below][1]

    def _parameters(self, effort: Effort, selector: Any) -> Any:
        raise NotImplementedError

    def search(self, vector: np.ndarray, k: int, effort: Effort, below: float | None) -> Found:
        parameters = self._parameters(effort, self._selector(below))
        return shown(self._numbers(self.index.search(vector[None], k, params=parameters)[1][0]))

    def _numbers(self, positions: np.ndarray) -> list[int]:
        """FAISS counts positions: those of cases that were added come after the others', and its user keeps which."""
        known = len(self.ages)
        return [int(p) if p < known else self.numbers[p - known] for p in positions]

    def add(self, rows: Sequence[Row], vectors: np.ndarray) -> None:
        import faiss

        faiss.omp_set_num_threads(threads())
        self.index.add(vectors)
        faiss.write_index(self.index, str(self.folder / "faiss"))
        faiss.omp_set_num_threads(1)
        self.numbers += [row.number for row in rows]
        np.save(self.folder / "added.npy", self.numbers)

    def remove_patient(self, patient: str, numbers: Sequence[int]) -> None:  # noqa: ARG002
        raise CannotError("removing moves the positions of all that follow, so its users build anew")

    def has(self, numbers: Iterable[int]) -> set[int]:
        """By position: what is written in the index itself, and what its user's list says where it stands."""
        held = set(self.numbers[: self.index.ntotal - len(self.ages)])
        return {n for n in numbers if n < len(self.ages) or n in held}


class Ivf(Faiss):
    """An inverted file of whole vectors under numbers, so that cases can be removed."""

    title = "FAISS IVFFlat"
    setup = "4 x sqrt(cases) lists, k-means of 10 turns on 40 vectors a list; IDs kept; nprobe 1 to search"
    efforts = tuple({"nprobe": n} for n in (2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512))

    def _make(self, data: Data) -> Any:
        import faiss

        nlist = max(1, int(4 * np.sqrt(data.count)))
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(data.d), data.d, nlist, faiss.METRIC_INNER_PRODUCT)
        index.cp.seed, index.cp.niter, index.cp.max_points_per_centroid = 0, 10, 40
        index.train(data.sample(40 * nlist))
        return index

    def _parameters(self, effort: Effort, selector: Any) -> Any:
        import faiss

        return faiss.SearchParametersIVF(sel=selector, nprobe=effort.get("nprobe", self.index.nprobe))

    def _numbers(self, positions: np.ndarray) -> list[int]:
        return [int(p) for p in positions]  # they are the numbers that were given

    def add(self, rows: Sequence[Row], vectors: np.ndarray) -> None:
        import faiss

        faiss.omp_set_num_threads(threads())
        self.index.add_with_ids(vectors, np.asarray([row.number for row in rows], np.int64))
        faiss.write_index(self.index, str(self.folder / "faiss"))
        faiss.omp_set_num_threads(1)

    def remove_patient(self, patient: str, numbers: Sequence[int]) -> None:  # noqa: ARG002
        import faiss

        self.index.remove_ids(np.asarray(numbers, np.int64))
        faiss.write_index(self.index, str(self.folder / "faiss"))

    def has(self, numbers: Iterable[int]) -> set[int]:
        import faiss

        lists = self.index.invlists
        sizes = [lists.list_size(i) for i in range(lists.nlist)]
        held = [faiss.rev_swig_ptr(lists.get_ids(i), n).copy() for i, n in enumerate(sizes) if n]
        wanted = np.asarray(list(numbers))
        return {int(n) for n in wanted[np.isin(wanted, np.concatenate(held))]}


class Hnsw(Faiss):
    """A graph over whole vectors; it cannot remove."""

    title = "FAISS HNSW"
    setup = "HNSW32, inner product, efConstruction 40, efSearch 16 to search"
    efforts = tuple({"efSearch": n} for n in (32, 64, 128, 256, 512, 1024, 2048))

    def _make(self, data: Data) -> Any:
        import faiss

        return faiss.IndexHNSWFlat(data.d, 32, faiss.METRIC_INNER_PRODUCT)

    def _parameters(self, effort: Effort, selector: Any) -> Any:
        import faiss

        return faiss.SearchParametersHNSW(sel=selector, efSearch=effort.get("efSearch", self.index.hnsw.efSearch))


class FastScan(Faiss):
    """Product quantisation by SIMD, the best of it compared again by whole vectors."""

    title = "FAISS IVFPQFastScan, refined"
    setup = "4 x sqrt(cases) lists, PQ of 128 x 4 bits, refined by whole vectors; nprobe 1, k_factor 1 to search"
    efforts = tuple(
        {"nprobe": n, "k_factor": f}
        for n, f in ((4, 4), (8, 4), (16, 4), (24, 8), (32, 8), (48, 8), (64, 16), (128, 16), (256, 32))
    )  # fmt: skip

    def _make(self, data: Data) -> Any:
        import faiss

        nlist = max(1, int(4 * np.sqrt(data.count)))
        index = faiss.index_factory(data.d, f"IVF{nlist},PQ{data.d // 2}x4fs,RFlat", faiss.METRIC_INNER_PRODUCT)
        index.train(data.sample(40 * nlist))
        return index

    def _opened(self, index: Any) -> None:
        import faiss

        super()._opened(index)
        self.ivf = faiss.extract_index_ivf(index)

    def _parameters(self, effort: Effort, selector: Any) -> Any:
        import faiss

        base = faiss.SearchParametersIVF(sel=selector, nprobe=effort.get("nprobe", 1))
        return faiss.IndexRefineSearchParameters(k_factor=effort.get("k_factor", 1.0), base_index_params=base)


class Autofaiss(Faiss):
    """autofaiss chooses the index and its effort by the latency and memory that it is given."""

    modules = ("faiss", "autofaiss")
    title = "autofaiss"
    packages = ("autofaiss==2.18.*", "pyarrow<16")  # a later one wants another numpy than autofaiss does
    distributions = ("autofaiss", "faiss-cpu")
    environment = "autofaiss"
    setup = (
        "build_index(metric_type='ip', max_index_memory_usage='4G'), which chooses the index and what it spends (10 ms)"
    )
    efforts = tuple({"scale": s} for s in (0.02, 0.05, 0.1, 0.25, 0.5, 2, 4, 8))

    def build(self, data: Data) -> None:
        import json

        from autofaiss import build_index

        _, report = build_index(
            data.vectors(), str(self.folder / "faiss"), str(self.folder / "infos.json"), metric_type="ip",
            max_index_memory_usage="4G", current_memory_available="12G", nb_cores=threads(), verbose=40,
        )  # fmt: skip
        chosen = {"key": report["index_key"], "parameters": report["index_param"]}
        (self.folder / "chosen.json").write_text(json.dumps(chosen))
        np.save(self.folder / "ages.npy", data.ages())

    def open(self) -> None:
        import json

        import faiss

        super().open()
        self.chosen = json.loads((self.folder / "chosen.json").read_text())
        self.space = faiss.ParameterSpace()
        self.spent: Effort | None = None
        self._spend({})

    def _spend(self, effort: Effort) -> None:
        """Its own parameters, all of them scaled: which there are depends on the index that it chose."""
        if effort == self.spent:
            return
        parts = [part.split("=") for part in self.chosen["parameters"].split(",") if part]
        scaled = [
            f"{name}={value if name == 'ht' else max(1, round(float(value) * effort.get('scale', 1)))}"
            for name, value in parts
        ]
        self.space.set_index_parameters(self.index, ",".join(scaled))
        self.spent = effort

    def search(self, vector: np.ndarray, k: int, effort: Effort, below: float | None) -> Found:
        import faiss

        self._spend(effort)
        if below is None:
            return shown(self._numbers(self.index.search(vector[None], k)[1][0]))
        selector = self._selector(below)
        ivf = faiss.try_extract_index_ivf(self.index)
        if ivf is not None:
            parameters = faiss.SearchParametersIVF(sel=selector, nprobe=ivf.nprobe)
            if isinstance(faiss.downcast_index(self.index), faiss.IndexPreTransform):
                parameters = faiss.SearchParametersPreTransform(index_params=parameters)
        else:
            hnsw = faiss.downcast_index(self.index).hnsw
            parameters = faiss.SearchParametersHNSW(sel=selector, efSearch=hnsw.efSearch)
        return shown(self._numbers(self.index.search(vector[None], k, params=parameters)[1][0]))


PEERS = {"faiss-ivf": Ivf, "faiss-hnsw": Hnsw, "faiss-fastscan": FastScan, "autofaiss": Autofaiss}
