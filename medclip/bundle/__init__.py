"""A trained model on disk: its layout, export, serving and verification."""
