"""Check stored tracks before the console shows them.

Programs that may write to the store may write anything there. An entry that the API's records or the pages cannot hold
would fail every list that it is part of, for all visitors.
"""

from reid_stream.publish.event_check import CAMERA, PERSON, RUN, check_figures, check_names
from reid_stream.store.layout import StoredTrack


def check_track(track: StoredTrack) -> None:
    """Check a stored track.

    Raises:
        ValueError: a name is malformed, or a figure cannot be shown.
    """
    check_names(CAMERA, "camera", [track.camera])
    check_names(RUN, "run", [track.run])
    if track.global_id is not None:
        check_names(PERSON, "global_id", [track.global_id])
    if not 0 <= track.track <= 2**53:
        raise ValueError(f"track must be from 0 to 2**53, found {track.track}")
    check_figures([track.times, track.boxes, track.qualities, track.revision])
