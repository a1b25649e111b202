"""HOTA and IDF1 of predicted boxes against ground truth."""

from reid_stream.evaluation.align import Boxes
from reid_stream.evaluation.score import Score, score

__all__ = ["Boxes", "Score", "score"]
