"""``make bench-peers``: the index engine beside every peer, on the same vectors, records, filters and payloads.

A peer is a class in ``engines/`` (`peers.engines`), which registers itself by being there. It runs in a virtual
environment of its own, made with pip (`peers.environments`), so nothing here that a step needs may import the project,
and every step is a process of its own (`peers.step`), so that its peak memory is its own.
"""
