"""Crops of tracks on disk: who was seen, for replay with another model and for training on the site's own people."""

from reid_stream.store.ground_truth import TRUTH_FILE, read_truth, write_truth
from reid_stream.store.layout import (
    TRACK_FILE,
    VECTORS_FILE,
    StoredTrack,
    crop_name,
    folder_of,
    read,
    relabel,
    tracks,
    vectors_of,
    write,
)

__all__ = [
    "TRACK_FILE",
    "TRUTH_FILE",
    "VECTORS_FILE",
    "StoredTrack",
    "crop_name",
    "folder_of",
    "read",
    "read_truth",
    "relabel",
    "tracks",
    "vectors_of",
    "write",
    "write_truth",
]
