"""Search structures over vectors; one file a backend, being here registers it."""
