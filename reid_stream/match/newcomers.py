"""How often a track is somebody never seen before: the prior of "somebody new" (pure).

Of n known people each is as likely as the other before looking (where and when they were last seen is topology's), so
"somebody new" has prior odds s n / (1 - s) against any one of them, s being the share of tracks that begin a person.
The more people are known, the more must speak for one of them: this bounds false matches per arrival, as the dial
bounds them per comparison.
"""

import math

import msgspec

_LEAST, _MOST = 0.05, 0.95
"""Bounds of the share: somebody new may always come, and anybody may come back."""
_MEMORY = 500.0
"""Older tracks fade from the share."""


class Newcomers(msgspec.Struct):
    """Counts of tracks that are over, with one of each kind to begin with."""

    new: float = 1.0
    """Began a person."""
    known: float = 1.0
    """Were somebody known."""

    def learn(self, *, is_new: bool) -> None:
        """Count a track."""
        fade = 1 - 1 / _MEMORY
        self.new = self.new * fade + is_new
        self.known = self.known * fade + (not is_new)

    @property
    def share(self) -> float:
        """Share of tracks that begin a person."""
        return min(_MOST, max(_LEAST, self.new / (self.new + self.known)))

    def log_odds(self, people: int) -> float:
        """Return the log prior odds of somebody new against one given person of so many."""
        return math.log(self.share * max(1, people) / (1 - self.share))
