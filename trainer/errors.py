"""Errors that a user of the trainer can fix.

Form of a message: what must hold, what was found, where, and what to do.
"""


class TrainerError(Exception):
    """Training, evaluation or export cannot continue; the message says what to change."""


class DataError(TrainerError):
    """Images, names or splits are missing or malformed."""


class CheckpointError(TrainerError):
    """A checkpoint cannot be written or read; an earlier one stays intact."""


class DivergedError(TrainerError):
    """The loss is no longer finite."""
