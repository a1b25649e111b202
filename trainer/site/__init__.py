"""Training on the tracklets that a site collected."""
