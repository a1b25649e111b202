"""Model bundles: a network with everything needed to serve it."""
