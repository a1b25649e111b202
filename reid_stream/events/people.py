"""Events about people: identities, zones and lines, operators' instructions (pure)."""

from typing import ClassVar, Literal

from reid_stream.events.base import EXAMPLE_RUN, EventBase, NewsEvent, Priority, values
from reid_stream.records import Box, CameraId, ClockQuality, GlobalId, IdentityState, TrackId


class _Identity(EventBase, frozen=True, kw_only=True):
    priority: ClassVar[Priority] = "identity"
    subject_field = "person"
    person: GlobalId
    """Global ID."""
    revision: int
    """Revision of the identity; every correction of it adds one."""
    example = values(person="shop-42", revision=0)


class _Sighting(_Identity, frozen=True, kw_only=True):
    time_field = "seen_at"
    camera: CameraId
    track: TrackId
    """Unique within the camera and the run."""
    seen_at: float
    """UTC seconds, capture time of the frame."""
    clock: ClockQuality
    """Accuracy of `seen_at`: `rtcp` camera clock, `arrival` clock of this host, `file` position in a file."""
    box: Box
    """x1, y1, x2, y2 in pixels of the full frame."""
    frame_size: tuple[int, int]
    """Width and height of the full frame, pixels."""
    score: float
    """Detection score, 0 to 1."""
    state: IdentityState
    """`provisional` until enough evidence has been seen, then `confirmed`."""
    similarity: float | None
    """Cosine similarity of the mean vectors of track and identity at the match, -1 to 1; null for a new identity."""
    probability: float | None
    """Calibrated probability, 0 to 1, that the track shows this identity; null for a new or uncalibrated one."""
    model: str
    """Hash of the embedding bundle."""
    since: float
    """UTC seconds at which this visit to the camera started."""
    run: str = ""
    """Run of the daemon that numbered the track; (camera, run, track) is unique for good."""
    example = values(
        camera="door",
        track=17,
        seen_at=1795236200.25,
        clock="rtcp",
        box=(812.5, 240.0, 948.0, 622.5),
        frame_size=(1920, 1080),
        score=0.91,
        state="provisional",
        similarity=None,
        probability=None,
        model="9b1c6f0e2d7a4c35",
        since=1795236200.25,
        run=EXAMPLE_RUN,
    )


class IdentityEntered(_Sighting, frozen=True, kw_only=True):
    """A person came into a camera's view."""

    type = "identity.entered.v1"


class IdentitySeen(_Sighting, frozen=True, kw_only=True):
    """A person is still in view; sent every `publish.seen_interval_s`, and for each further track of the visit."""

    type = "identity.seen.v1"
    priority: ClassVar[Priority] = "liveness"
    example = values(seen_at=1795236201.25, state="confirmed", similarity=0.71, probability=0.98)


class IdentityLeft(_Identity, frozen=True, kw_only=True):
    """A person has not been in a camera's view for `publish.left_after_s`."""

    type = "identity.left.v1"
    time_field = "last_seen_at"
    camera: CameraId
    since: float
    """UTC seconds at which the visit started."""
    last_seen_at: float
    """UTC seconds at which the visit ended."""
    clock: ClockQuality
    """Accuracy of the times."""
    state: IdentityState
    snapshot: str | None = None
    """Name of the visit's best picture, <camera>/<run>/<track>/<milliseconds>, for `GET /api/v1/snapshots/<name>`; null
    where no pictures are stored."""
    example = values(
        camera="door",
        since=1795236200.25,
        last_seen_at=1795236209.75,
        clock="rtcp",
        state="confirmed",
        snapshot="door/20261121-044000/17/1795236203250",
    )


class IdentityConfirmed(_Identity, frozen=True, kw_only=True):
    """A provisional identity has gathered enough evidence."""

    type = "identity.confirmed.v1"
    time_field = "confirmed_at"
    camera: CameraId
    track: TrackId
    confirmed_at: float
    example = values(camera="door", track=17, confirmed_at=1795236200.75)


class IdentityMerged(_Identity, frozen=True, kw_only=True):
    """`previous` and `person` are one; read every earlier event of `previous` as one of `person`."""

    type = "identity.merged.v1"
    time_field = "merged_at"
    previous: GlobalId
    """Global ID that is no longer used."""
    similarity: float
    """Cosine similarity of the two, -1 to 1."""
    probability: float | None
    """Calibrated probability that they are one person, 0 to 1."""
    merged_at: float
    by: str | None = None
    """Operator who asked for it; null for the matcher's own correction."""
    example = values(
        person="shop-7",
        revision=1,
        previous="shop-42",
        similarity=0.69,
        probability=0.97,
        merged_at=1795236212.25,
    )


class IdentitySplit(_Identity, frozen=True, kw_only=True):
    """Some tracks of `person` show another person, `into`."""

    type = "identity.split.v1"
    time_field = "split_at"
    into: GlobalId
    tracks: tuple[tuple[CameraId, str, TrackId], ...]
    """(camera, run, track) of each track that moved to `into`."""
    split_at: float
    by: str | None = None
    """Operator who asked for it; null for the matcher's own correction."""
    into_revision: int = 1
    into_state: IdentityState = "provisional"
    spans: tuple[tuple[float | None, float | None], ...] = ()
    """Empty if all `tracks` moved whole; else, per track, the interval [since, until) of `seen_at` that moved, UTC
    seconds, null where it is unbounded."""
    example = values(
        person="shop-7",
        revision=2,
        into="shop-43",
        tracks=(("door", EXAMPLE_RUN, 17),),
        split_at=1795236260.25,
        by="anna",
    )


class IdentityNamed(_Identity, frozen=True, kw_only=True):
    """An identity was given a label."""

    type = "identity.named.v1"
    time_field = "named_at"
    label: str
    """Empty to remove the label."""
    by: str | None
    """Operator; null where the label was taken over from a merged identity."""
    named_at: float
    example = values(label="Anna of the bakery", by="anna", named_at=1795236290.5)


class IdentityRetired(_Identity, frozen=True, kw_only=True):
    """An identity left the gallery and will not be matched again."""

    type = "identity.retired.v1"
    time_field = "retired_at"
    reason: Literal["expired", "gallery full"]
    last_seen_at: float
    retired_at: float
    example = values(reason="expired", last_seen_at=1795149800.25, retired_at=1795236200.25)


class IdentityErased(_Identity, frozen=True, kw_only=True):
    """Everything kept about a person was deleted on request."""

    type = "identity.erased.v1"
    time_field = "erased_at"
    erased_at: float
    by: str | None = None
    """Operator who asked for it."""
    example = values(erased_at=1795236300.25, by="anna")


class _Place(_Identity, NewsEvent, frozen=True, kw_only=True):
    camera: CameraId
    clock: ClockQuality
    """Accuracy of the times."""
    example = values(camera="door", clock="rtcp")


class ZoneEntered(_Place, frozen=True, kw_only=True):
    """A person's feet came into a zone, and stayed for `publish.zone_settle_s`."""

    type = "zone.entered.v1"
    time_field = "entered_at"
    zone: str
    """Name in `cameras[].zones`."""
    entered_at: float
    example = values(zone="till", entered_at=1795236202.25)


class ZoneLeft(_Place, frozen=True, kw_only=True):
    """A person's feet left a zone, or the person left the camera's view; every `zone.entered` has one."""

    type = "zone.left.v1"
    time_field = "left_at"
    zone: str
    """Name in `cameras[].zones`."""
    since: float
    """UTC seconds of `entered_at`."""
    left_at: float
    dwell_s: float
    """Seconds in the zone."""
    example = values(zone="till", since=1795236202.25, left_at=1795236208.75, dwell_s=6.5)


class LineCrossed(_Place, frozen=True, kw_only=True):
    """A person's feet crossed a line."""

    type = "line.crossed.v1"
    time_field = "crossed_at"
    line: str
    """Name in `cameras[].lines`."""
    direction: Literal["in", "out"]
    """`in`: to the right, as seen from the line's first point to its second."""
    crossed_at: float
    example = values(line="entrance", direction="in", crossed_at=1795236201.5)


class InstructionAnswered(EventBase, frozen=True, kw_only=True):
    """An operator's instruction was carried out or refused; the events that it caused come just before."""

    type = "instruction.answered.v1"
    priority: ClassVar[Priority] = "identity"
    time_field = "answered_at"
    subject_field = "instruction"
    instruction: str
    """Entry ID on the stream of instructions."""
    do: Literal["merge", "split", "name", "erase", "undo"]
    outcome: Literal["done", "refused"]
    text: str
    """Description of the result, or the reason for refusing."""
    people: tuple[GlobalId, ...]
    """Identities concerned."""
    by: str
    answered_at: float
    example = values(
        instruction="1795236290120-0",
        do="name",
        outcome="done",
        text="shop-42 is called 'Anna of the bakery'",
        people=("shop-42",),
        by="anna",
        answered_at=1795236290.5,
    )


PeopleStateEvent = (
    IdentityEntered
    | IdentitySeen
    | IdentityLeft
    | IdentityConfirmed
    | IdentityMerged
    | IdentitySplit
    | IdentityNamed
    | IdentityRetired
    | IdentityErased
    | InstructionAnswered
)
