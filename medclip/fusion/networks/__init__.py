"""The trained fusers, one a file; see `medclip.fusion.base`."""
