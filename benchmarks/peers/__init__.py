"""Other programs on the same clips with the same detector: how fast, and how well do they follow."""
