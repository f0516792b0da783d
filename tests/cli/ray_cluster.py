"""Embed on a cluster of two nodes and take one away meanwhile (run in a process of its own)."""

import sys
import threading
import time
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from medclip.cases import read_cases
from medclip.embedding.on_ray import embed_on_ray


def main(cases: Path, model: Path, out: Path) -> None:
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "node_ip_address": "127.0.0.1", "include_dashboard": False},
    )
    second = cluster.add_node(num_cpus=1, node_ip_address="127.0.0.1")
    ray.init(address=cluster.address, _node_ip_address="127.0.0.1", log_to_driver=False, logging_level="error")
    cluster.wait_for_nodes()

    def take_away() -> None:
        while not list(out.glob("*.safetensors")):
            time.sleep(0.02)
        cluster.remove_node(second, allow_graceful=False)
        sys.stdout.write("one node was removed\n")
        sys.stdout.flush()

    thread = threading.Thread(target=take_away)
    thread.start()
    embed_on_ray(read_cases(cases), cases, model, out, address="auto", threads=1)
    thread.join()
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
