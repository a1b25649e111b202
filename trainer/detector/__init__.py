"""Fine-tuning, measuring and bundling a person detector."""
