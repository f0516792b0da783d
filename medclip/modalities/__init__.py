"""What each kind of evidence needs on its way to a vector: read → prepare → encode."""
