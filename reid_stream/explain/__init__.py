"""Two crops and a bundle in, a picture of why they match out: which dimensions decide, and where they look."""

from reid_stream.explain.pair import Explainer, Explanation
from reid_stream.explain.picture import draw, write
from reid_stream.explain.stored import explain_stored, page

__all__ = ["Explainer", "Explanation", "draw", "explain_stored", "page", "write"]
