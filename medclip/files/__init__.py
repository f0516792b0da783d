"""Files: plain ones read safely, outputs whole or absent, folders where one process works, JSON that carries its checksum."""
