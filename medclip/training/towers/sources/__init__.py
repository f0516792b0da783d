"""Where towers come from: one file a source, which registers itself by standing here."""
