"""Training: towers, tower features, projection, losses, the trainer. The rooms that import torch."""
