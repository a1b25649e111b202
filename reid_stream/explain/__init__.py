"""Explain why two crops match: which dimensions of their vectors decide, and which image regions those react to."""

from reid_stream.explain.pair import Explainer, Explanation
from reid_stream.explain.picture import draw, write
from reid_stream.explain.stored import explain_stored, page

__all__ = ["Explainer", "Explanation", "draw", "explain_stored", "page", "write"]
