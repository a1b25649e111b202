"""Truth and what was predicted in, HOTA and IDF1 out."""

from reid_stream.evaluation.align import Boxes
from reid_stream.evaluation.score import Score, score

__all__ = ["Boxes", "Score", "score"]
