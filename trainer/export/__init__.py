"""Make a bundle of a checkpoint: export, calibration, model card, int8."""
