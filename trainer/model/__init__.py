"""The siamese network: backbones, descriptors, heads, warm start."""
