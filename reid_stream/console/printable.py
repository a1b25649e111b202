"""Make text from outside safe to show: control characters and text direction marks become visible escapes (pure).

Names, camera ids, event fields, error texts of servers and licences of bundles are written by others. A terminal obeys
escape sequences in them (its title, its clipboard, its colours), and bidirectional overrides reorder what is read.
"""

import unicodedata

_ESCAPED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories: control, format (bidirectional marks and overrides, tags), surrogate, line, paragraph."""
_JOINERS = frozenset("\u200c\u200d")
"""Zero-width (non-)joiner: scripts of Asia and emoji need them, and no terminal obeys them."""


def printable(text: str) -> str:
    """Escape every character that a terminal could obey, line breaks and tabs too, the way JSON does."""
    if text.isprintable():
        return text
    return "".join(_escape(one) if _is_escaped(one) else one for one in text)


def printable_lines(text: str) -> str:
    """Escape like `printable`, but keep line breaks."""
    return "\n".join(map(printable, text.split("\n")))


def _is_escaped(one: str) -> bool:
    return unicodedata.category(one) in _ESCAPED and one not in _JOINERS


def _escape(one: str) -> str:
    # Above U+FFFF two UTF-16 units, so that JSON text stays JSON.
    units = one.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at] << 8 | units[at + 1]:04x}" for at in range(0, len(units), 2))
