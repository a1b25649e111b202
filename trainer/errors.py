"""What the trainer tells a user who can do something about it.

Form of a message: what must hold, then what was found, then where or what to do.
"""


class TrainerError(Exception):
    """Training, evaluation or export cannot go on; the message says what to change."""


class DataError(TrainerError):
    """The images, names or splits are not what training needs."""


class CheckpointError(TrainerError):
    """A checkpoint cannot be written or read; an earlier one is never harmed."""


class DivergedError(TrainerError):
    """The loss is not a finite number any more."""
