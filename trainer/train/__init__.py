"""Training: the loop, losses, optimiser, checkpoints and recipes."""
