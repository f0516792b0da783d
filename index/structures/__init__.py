"""Search structures of FAISS over positions 0 .. n-1; one file a structure, being here registers it."""
