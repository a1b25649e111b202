"""Distillation: a student learns to give the answers of larger networks on shared views."""
