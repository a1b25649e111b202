"""Training of embedders and detectors: train, evaluate, calibrate, export; see docs/training."""
