"""Explain why two crops match: which dimensions of their vectors decide, and which image regions those react to."""

from reid_stream.explain.pair import Explainer, Explanation
from reid_stream.explain.picture import COOL, WARM, draw, lit, write
from reid_stream.explain.regions import Regions, compare_regions
from reid_stream.explain.stored import explain_stored, page

__all__ = [
    "COOL", "WARM", "Explainer", "Explanation", "Regions", "compare_regions", "draw", "explain_stored", "lit", "page",
    "write",
]  # fmt: skip
