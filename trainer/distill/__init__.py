"""Distillation: a network learns to answer as larger ones do, on views that both see."""
