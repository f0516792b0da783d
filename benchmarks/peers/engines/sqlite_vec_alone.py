"""sqlite-vec: vectors in a table of SQLite, compared one by one."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from peers.base import Effort, Found, Peer
from peers.data import Data, Row, row


class SqliteVec(Peer):
    """A vec0 table with a metadata column for filters and auxiliary columns for what is shown."""

    modules = ("apsw", "sqlite_vec")
    title = "sqlite-vec"
    # By apsw, since Python's own sqlite3 is often built without extensions.
    packages = ("sqlite-vec==0.1.*", "apsw", "numpy")
    distributions = ("sqlite-vec", "apsw")
    environment = "sqlite-vec"
    setup = "vec0, float[256] by cosine, age as a metadata column, patient, label and text as auxiliary columns; exact"
    durable = "WAL with synchronous=FULL: one transaction a change"

    def _connect(self) -> Any:
        import apsw
        import sqlite_vec

        db = apsw.Connection(str(self.folder / "cases.sqlite"))
        db.enable_load_extension(True)
        db.load_extension(sqlite_vec.loadable_path())
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        return db

    def build(self, data: Data) -> None:
        self.db = self._connect()
        self.db.execute(
            f"CREATE VIRTUAL TABLE cases USING vec0(number INTEGER PRIMARY KEY, vector float[{data.d}] "
            "distance_metric=cosine, age FLOAT, +case_id TEXT, +patient TEXT, +label TEXT, +text TEXT)"
        )
        # An auxiliary column cannot be looked up, so the patients stand in a table of their own.
        self.db.execute("CREATE TABLE patients (patient TEXT, number INTEGER)")
        self.db.execute("CREATE INDEX by_patient ON patients (patient)")
        for start, x in data.chunks():
            self.add([row(start + i) for i in range(len(x))], x)
        self.close()

    def open(self) -> None:
        self.db = self._connect()

    def search(self, vector: np.ndarray, k: int, effort: Effort, below: float | None) -> Found:  # noqa: ARG002
        where, bound = ("", ()) if below is None else (" AND age < ?", (below,))
        text = (
            f"SELECT case_id, patient, label, text FROM cases WHERE vector MATCH ? AND k = ?{where} ORDER BY distance"
        )
        return list(self.db.execute(text, (vector.tobytes(), k, *bound)))

    def add(self, rows: Sequence[Row], vectors: np.ndarray) -> None:
        with self.db:
            self.db.executemany(
                "INSERT INTO cases(number, vector, age, case_id, patient, label, text) VALUES (?, ?, ?, ?, ?, ?, ?)",
                ((r.number, x.tobytes(), r.age, *r.shown) for r, x in zip(rows, vectors, strict=True)),
            )
            self.db.executemany("INSERT INTO patients VALUES (?, ?)", ((r.patient, r.number) for r in rows))

    def remove_patient(self, patient: str, numbers: Sequence[int]) -> None:  # noqa: ARG002
        with self.db:
            for (number,) in list(self.db.execute("SELECT number FROM patients WHERE patient = ?", (patient,))):
                self.db.execute("DELETE FROM cases WHERE number = ?", (number,))
            self.db.execute("DELETE FROM patients WHERE patient = ?", (patient,))

    def has(self, numbers: Iterable[int]) -> set[int]:
        return {n for n in numbers if list(self.db.execute("SELECT number FROM cases WHERE number = ?", (n,)))}

    def close(self) -> None:
        self.db.close()


PEERS = {"sqlite-vec": SqliteVec}
