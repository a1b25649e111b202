"""Compare speed and accuracy with other programs on the same clips with the same detector."""
