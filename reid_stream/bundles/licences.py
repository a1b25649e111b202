"""Classify licences of weights by commercial use (pure).

A plain reading for operators, no legal advice: it names the rule that applies, or states that it is unknown.
"""

from dataclasses import dataclass
from typing import Literal

Use = Literal["yes", "conditions", "no", "unknown"]
_PERMISSIVE = ("apache-2.0", "apache 2", "mit", "bsd", "cc0", "cc-by-4.0", "cc by 4.0", "isc", "zlib", "unlicense")
_COPYLEFT = ("agpl", "gpl", "lgpl", "mpl", "epl", "cc-by-sa", "cc by-sa")
_RESTRICTED = (
    "research", "non-commercial", "noncommercial", "non commercial", "academic", "cc-by-nc", "cc by-nc", "nc-sa",
    "by-nc",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class CommercialUse:
    """Whether weights may be part of a product, and why."""

    use: Use
    reason: str
    """One clause, to follow the bundle's name."""


def commercial_use(licence: str) -> CommercialUse:
    """Read a bundle's `licence`; the strictest rule that it names decides.

    >>> commercial_use("AGPL-3.0").use, commercial_use("Apache-2.0").use, commercial_use("Research only: ...").use
    ('conditions', 'yes', 'no')
    """
    text = licence.lower()
    short = licence.split(":", maxsplit=1)[0].split(". ", maxsplit=1)[0].strip()[:60]
    if any(word in text for word in _RESTRICTED):
        return CommercialUse("no", f"licence allows research only ({short})")
    if any(word in text for word in _COPYLEFT):
        rule = (
            "the source of what serves it must be offered" if "agpl" in text else "its terms pass on to derived works"
        )
        return CommercialUse("conditions", f"{short}: {rule}")
    if any(_is_named(word, text) for word in _PERMISSIVE):
        return CommercialUse("yes", f"{short}: keep its notices")
    return CommercialUse(
        "unknown", f"licence is {licence!r}, ask the authors of the weights" if licence else "no licence"
    )


def _is_named(word: str, text: str) -> bool:
    """Whether a word stands by itself: `mit` is not in `limited`."""
    place = text.find(word)
    while place >= 0:
        before, after = text[place - 1 : place], text[place + len(word) : place + len(word) + 1]
        if not before.isalnum() and not after.isalnum():
            return True
        place = text.find(word, place + 1)
    return False
