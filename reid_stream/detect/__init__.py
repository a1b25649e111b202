"""Person detection, one batch over the frames of all cameras."""
