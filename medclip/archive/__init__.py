"""An archive: an index with the model that made its vectors and the answers fitted on its cases."""
