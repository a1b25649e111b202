"""From a checkpoint to a bundle: export, calibration, model card, int8."""
