"""Where cases are kept and searched; one file a backend, being here registers it."""
