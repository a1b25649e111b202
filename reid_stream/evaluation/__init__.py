"""Truth and what was predicted in, HOTA and IDF1 out."""

from reid_stream.evaluation.score import Boxes, Score, score

__all__ = ["Boxes", "Score", "score"]
