"""Text: cleaning and masking, tokens in windows, and the text tower."""
