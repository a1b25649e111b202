"""Training data: sets of crops, samplers and augmentation."""
