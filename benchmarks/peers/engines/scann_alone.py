"""ScaNN: a tree of quantised vectors, the best of it compared again. It keeps vectors under names, and no records."""

from collections.abc import Iterable, Sequence

import numpy as np

from peers.base import Effort, Found, Peer
from peers.data import Data, Row, row
from peers.filtering import post_filtered, shown, threads


class Scann(Peer):
    """The structure of its README, for these many vectors."""

    modules = ("scann",)
    title = "ScaNN"
    packages = ("scann==1.4.*",)
    distributions = ("scann",)
    environment = "scann"
    setup = (
        "2 x sqrt(cases) leaves, asymmetric hashing of 2 dimensions a block (threshold 0.2), reordering by whole vectors; "
        "5 % of the leaves and 100 reordered to search, as in its README"
    )
    durable = "nothing until serialize(), which writes its files in place"
    keeps_records = False
    filtering = "after"
    crowd = "threads"
    efforts = tuple(
        {"leaves": n, "reorder": r}
        for n, r in (
            (0.005, 50),
            (0.01, 50),
            (0.02, 100),
            (0.03, 100),
            (0.05, 200),
            (0.1, 300),
            (0.2, 500),
            (0.4, 1000),
        )
    )

    def build(self, data: Data) -> None:
        import scann

        leaves = max(1, int(2 * np.sqrt(data.count)))
        x = data.vectors()
        searcher = (
            scann.scann_ops_pybind.builder(x, 10, "dot_product")
            .set_n_training_threads(threads())
            .tree(
                num_leaves=leaves, num_leaves_to_search=max(1, leaves // 20), training_sample_size=min(250_000, len(x))
            )
            .score_ah(2, anisotropic_quantization_threshold=0.2)
            .reorder(100)
            .build(docids=[row(n).case_id for n in range(len(x))])
        )
        (self.folder / "scann").mkdir()
        searcher.serialize(str(self.folder / "scann"), relative_path=True)
        np.save(self.folder / "ages.npy", data.ages())
        np.save(self.folder / "leaves.npy", leaves)

    def open(self) -> None:
        import scann

        self.searcher = scann.scann_ops_pybind.load_searcher(str(self.folder / "scann"))
        self.ages = np.load(self.folder / "ages.npy")
        self.leaves = int(np.load(self.folder / "leaves.npy"))

    def search(self, vector: np.ndarray, k: int, effort: Effort, below: float | None) -> Found:
        leaves = max(1, round(self.leaves * effort["leaves"])) if effort else -1

        def near(want: int) -> np.ndarray:
            reorder = max(want, effort["reorder"]) if effort else max(want, 100)
            found = self.searcher.search(vector, want, reorder, leaves)[0]
            return np.asarray([int(name[5:]) for name in found])

        return shown(near(k) if below is None else post_filtered(near, self.ages, k, below, len(self.ages)))

    def _save(self) -> None:
        self.searcher.serialize(str(self.folder / "scann"), relative_path=True)

    def add(self, rows: Sequence[Row], vectors: np.ndarray) -> None:
        self.searcher.upsert([r.case_id for r in rows], vectors, batch_size=len(rows))
        self._save()

    def remove_patient(self, patient: str, numbers: Sequence[int]) -> None:  # noqa: ARG002
        self.searcher.delete([row(n).case_id for n in numbers])
        self._save()

    def has(self, numbers: Iterable[int]) -> set[int]:
        held = {int(name[5:]) for name in self.searcher.docids}
        return {n for n in numbers if n in held}


PEERS = {"scann": Scann}
