"""The peers: a module registers its classes by naming them in ``PEERS``."""
