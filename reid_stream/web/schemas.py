"""Schemas of the HTTP API, in the terms of the events; pages show the same records. Times are UTC seconds."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from reid_stream.events import InstructionAnswered
from reid_stream.records import CAMERA_PATTERN, PERSON_PATTERN, RUN_PATTERN, ClockQuality, IdentityState

Role = Literal["viewer", "operator", "admin"]
ROLES: tuple[Role, ...] = ("viewer", "operator", "admin")
"""Roles in ascending order: each includes those before it."""
PersonId = Annotated[str, Field(pattern=PERSON_PATTERN, max_length=64)]
CameraName = Annotated[str, Field(pattern=CAMERA_PATTERN)]
RunName = Annotated[str, Field(pattern=RUN_PATTERN)]
Place = Annotated[str, Field(pattern=r"^[0-9]{1,20}-[0-9]{1,20}$")]
Text = Annotated[str, Field(max_length=200)]


class Record(BaseModel):
    """An answer of the API."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class Asked(BaseModel):
    """A body of a request; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Problem(Record):
    """An error (RFC 9457), as application/problem+json."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str = ""


class Picture(Record):
    """A stored crop."""

    url: str
    """Path of the JPEG; `?width=` scales it down."""
    seen_at: float
    quality: float
    """0 to 1."""


class TrackRecord(Record):
    """One track of a person on one camera."""

    camera: str
    run: str
    track: int
    first_at: float
    last_at: float
    similarity: float | None = None
    probability: float | None = None
    """P(the track shows this person); null for the first track of a person and without a calibration."""
    pictures: list[Picture] = []
    """Stored crops, in the order of time; empty while the track is not stored (yet)."""


class VisitRecord(Record):
    """One visit to one camera."""

    camera: str
    since: float
    last_at: float
    is_over: bool
    track_count: int
    """Number of its tracks."""
    tracks: list[TrackRecord]
    """In the order of time; the latest where there are more than were asked for."""
    snapshot: str | None = None
    """Path of the visit's best picture; null without one."""


class Change(Record):
    """One entry in a person's history."""

    at: float
    what: str
    text: str
    by: str | None
    """Operator; null for the matcher's own decision."""
    probability: float | None = None


class PersonSummary(Record):
    """A person in a list."""

    person: str
    """Global ID."""
    label: str
    state: IdentityState | None
    """Null for a person known from the store alone."""
    revision: int
    here: list[str]
    """Cameras that see the person now."""
    cameras: list[str]
    """All cameras of all visits, in the order of the first visit."""
    first_seen_at: float
    last_seen_at: float
    visits: int
    tracks: int
    probability: float | None
    """Lowest P(same) of the tracks."""
    picture: str | None
    """Path of the best picture; null without one."""


class Person(PersonSummary):
    """A person with the journey through the site."""

    asked: str
    """The requested ID; another one where it was merged into this."""
    journey: list[VisitRecord]
    """In the order of time."""
    history: list[Change]


class People(Record):
    """A page of a list of people."""

    people: list[PersonSummary]
    total: int
    """Number of people who match the filter."""
    is_complete: bool
    """False while the console still reads older events."""


class CameraRecord(Record):
    """A camera and its health."""

    camera: str
    state: Literal["up", "down", "waiting", "off"]
    """`off`: the daemon does not run."""
    changed_at: float | None
    address: str
    """Without user and password."""
    frame_size: tuple[int, int] | None
    codec: str
    clock: ClockQuality | Literal[""]
    reason: str
    """Why it was down last."""
    here: list[str]
    """Global IDs in view."""
    fps_in: float | None = None
    """Frames per second decoded; null where the daemon's metrics cannot be read."""
    fps_used: float | None = None
    """Frames per second that went through the detector."""
    limit_fps: float | None = None
    """Frame rate that the machine can process under overload; null without one."""
    dropped: dict[str, int] = {}
    """Frames left out since the daemon's start, by cause."""
    failures: dict[str, int] = {}
    """Failed attempts and broken connections, by cause."""
    reconnects: int | None = None
    skew_s: float | None = None
    """The camera's own clock less that of the daemon."""
    last_seen_at: float | None = None
    """Time of the last sighting of any person."""


class PassageRecord(Record):
    """How people get from one camera to another."""

    camera_from: str
    camera_to: str
    people: float
    """Surely recognised; older ones count less."""
    share: float
    """Share of the people who leave `camera_from`."""
    at_once: float
    """Share that was on both cameras at once."""
    seconds: tuple[float, float, float]
    """A tenth, half and nine tenths took at most so long."""


class TopologyRecord(Record):
    """Learned transitions between cameras."""

    cameras: list[str]
    passages: list[PassageRecord]


class ModelRecord(Record):
    """A bundle in use."""

    kind: str
    name: str
    hash: str
    licence: str
    commercial_use: Literal["yes", "conditions", "no", "unknown"]
    """Whether that licence allows the weights in a product; no legal advice."""
    commercial_use_reason: str
    """The rule that binds."""
    created: str
    data: list[str]
    metrics: dict[str, float]
    engine: str = ""
    """Engine that runs it now; empty if the daemon's metrics cannot be read."""


class SystemRecord(Record):
    """The daemon, its models and its bounds."""

    site: str
    version: str
    run: str
    is_running: bool
    started_at: float | None
    stopped_at: float | None
    stop_reason: str
    fault: str | None
    """Why events cannot be read now."""
    people_in_view: int
    gallery: int
    """Identities that can be matched."""
    overload: dict[str, Any] | None
    """Latest `daemon.overloaded`; null unless there is one now."""
    models: list[ModelRecord]
    bounds: dict[str, float | int | str | None]
    """Settings that bound what is kept: seconds, bytes, counts, by their names in cams.yaml."""
    store_tracks: int
    refused: int = 0
    """Events and stored tracks not shown because they are invalid; the log has the first."""
    store_bytes: int | None
    stages_ms: dict[str, float]
    """Mean time of a call of each stage since the start."""
    latency_p50_s: float | None
    latency_p95_s: float | None
    """From capture to event, upper bound of the histogram's bucket."""
    counters: dict[str, float]
    """Other figures of the daemon's metrics, by name without prefix."""


class Candidate(Record):
    """A person who may be the one searched for."""

    rank: int
    person: PersonSummary
    similarity: float
    """Cosine to the most similar track, what is common to each camera taken off."""
    probability: float | None
    """P(this person), over all candidates and none of them; null for a bundle without a calibration."""
    track: TrackRecord
    """The most similar track."""


class SearchResult(Record):
    """Ranked candidates."""

    candidates: list[Candidate]
    compared: int
    """Tracks that were compared."""
    model: str
    """Hash of the embedder."""
    box: tuple[float, float, float, float] | None = None
    """Part of the uploaded picture used as the person, pixels; null for all of it."""
    seconds: float


class Session(Record):
    """The visitor and the session."""

    name: str
    """Name as recorded in corrections (`by`)."""
    role: Role
    needs_login: bool
    csrf: str
    """Token to send as X-CSRF-Token with every change; empty if none is needed."""


class Login(Asked):
    """A name and its password."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    password: Annotated[str, Field(min_length=1, max_length=1000)]


class Span(Asked):
    """Time on a camera."""

    camera: CameraName
    since: float = 0.0
    until: float | None = None


class Correction(Asked):
    """An instruction.

    `merge` takes gone and into; `split` person, and tracks or visits; `name` person and label; `erase` person; `undo`
    the instruction's id.
    """

    do: Literal["merge", "split", "name", "erase", "undo"]
    why: Text = ""
    gone: PersonId | None = None
    into: PersonId | None = None
    duplicates: bool = False
    """merge: seen side by side, but as one body found twice."""
    person: PersonId | None = None
    tracks: Annotated[list[tuple[CameraName, RunName, int]], Field(max_length=10_000)] = []
    """split: (camera, run, track) of each that leaves."""
    visits: Annotated[list[Span], Field(max_length=1000)] = []
    label: Text | None = None
    instruction: Place | None = None
    wait_s: Annotated[float, Field(ge=0, le=60)] = 10
    """Longest wait for the daemon's answer, seconds."""


class Outcome(Record):
    """Result of an instruction."""

    instruction: str
    """Its id, for `undo`."""
    outcome: Literal["done", "refused", "waits"]
    """`waits`: no daemon has answered yet; it will, even after a restart."""
    text: str
    people: list[str] = []

    @classmethod
    def of(cls, place: str, answer: InstructionAnswered | None) -> "Outcome":
        """Make it of the daemon's answer; None where there is none yet."""
        if answer is None:
            return cls(instruction=place, outcome="waits", text="waits for the daemon")
        return cls(instruction=place, outcome=answer.outcome, text=answer.text, people=list(answer.people))


class LoggedInstruction(Record):
    """An instruction in the log."""

    instruction: str
    at: float
    do: str
    who: str
    why: str
    text: str
    outcome: Literal["done", "refused", "waits"]
    answer: str
    can_undo: bool


class Pair(Record):
    """Two tracks that are or are not one person's, of which the matcher is not sure."""

    pair: str
    """Its id."""
    kind: Literal["doubtful", "missed"]
    """`doubtful`: one person's, perhaps wrongly; `missed`: two people's, perhaps one."""
    probability: float | None
    left: "PairSide"
    right: "PairSide"


class PairSide(Record):
    """One side of a pair."""

    person: PersonSummary
    track: TrackRecord


class Pairs(Record):
    """Pairs to review, the most informative first."""

    pairs: list[Pair]
    reviewed: int
    """Answers given so far."""


class Review(Asked):
    """An answer to a pair."""

    pair: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    answer: Literal["same", "different", "unsure"]


class Reviewed(Record):
    """An answer that was stored."""

    review: str
    """Its id, to withdraw it."""
    answer: Literal["same", "different", "unsure"]
    at: float
    by: str
    people: tuple[str, str]
    outcome: Outcome | None
    """Outcome of the correction that followed from it; null if nothing had to change."""
