"""Corrections and reviews: instructions to the daemon, in the visitor's name."""

import time
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request
from starlette.responses import PlainTextResponse

from reid_stream.instructions import (
    Erased,
    ErasePerson,
    Instruction,
    MergePeople,
    NamePerson,
    SplitTracks,
    TrackSpan,
    Undo,
)
from reid_stream.records import CameraId, GlobalId, TrackId
from reid_stream.web.api.parts import PROBLEMS, Operator, SiteParts, Viewer, needs, spends
from reid_stream.web.schemas import (
    Correction,
    LoggedInstruction,
    Outcome,
    Pairs,
    Place,
    Review,
    Reviewed,
)
from reid_stream.web.site import WebSite

router = APIRouter(tags=["corrections"], responses=PROBLEMS)
_WAIT_S = 10.0
_SPEND = [Depends(spends("change"))]
_PLURAL = {"merge", "split", "name"}


@router.post("/instructions", dependencies=_SPEND)
def correct(web: SiteParts, visitor: Operator, request: Request, asked: Correction) -> Outcome:
    """Merge, split, name, erase (role admin) or undo; waits for the daemon's answer."""
    if asked.do == "erase":
        needs("admin")(request)
    try:
        instruction = _instruction(asked, visitor.name)
    except ValueError as error:
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
    return hand_in(web, instruction, asked.wait_s)


@router.get("/instructions")
def list_instructions(
    web: SiteParts, _visitor: Viewer, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> list[LoggedInstruction]:
    """Return instructions with their operators and outcomes, the newest first."""
    entries = [entry for entry in web.instructions.entries() if not isinstance(entry.instruction, Erased)]
    undone = {entry.instruction.instruction for entry in entries if isinstance(entry.instruction, Undo)}
    found = []
    for entry in entries[::-1][:limit]:
        instruction, answer = entry.instruction, entry.answer
        found.append(
            LoggedInstruction(
                instruction=instruction.id,
                at=instruction.at,
                do=instruction.do,
                who=instruction.who,
                why=instruction.why,
                text=instruction.description,
                outcome=answer.outcome if answer is not None else "waits",
                answer=answer.text if answer is not None else "",
                can_undo=instruction.do in _PLURAL
                and answer is not None
                and answer.outcome == "done"
                and instruction.id not in undone,
            )
        )
    return found


@router.get("/review")
def list_pairs(web: SiteParts, _visitor: Viewer, limit: Annotated[int, Query(ge=1, le=100)] = 20) -> Pairs:
    """Return pairs of tracks of which the matcher is not sure and that are not reviewed."""
    web.feed.refresh()
    pairs, reviewed = web.reviews.pairs(limit)
    return Pairs(pairs=pairs, reviewed=reviewed)


@router.post("/review", dependencies=_SPEND)
def review(web: SiteParts, visitor: Operator, asked: Review) -> Reviewed:
    """Answer a pair; a correction that follows from the answer is handed to the daemon."""
    web.feed.refresh()
    found = web.reviews.find(asked.pair)
    if found is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "this pair is no more: its people were corrected meanwhile")
    instruction = web.reviews.consequence(found, asked.answer, visitor.name)
    outcome = hand_in(web, instruction, _WAIT_S) if instruction is not None else None
    return web.reviews.keep(found, asked.answer, visitor.name, outcome)


@router.delete("/review/{review_id}", dependencies=_SPEND)
def undo_review(web: SiteParts, visitor: Operator, review_id: Annotated[Place, Path()]) -> Outcome:
    """Take an answer back, and undo the correction that followed from it."""
    try:
        instruction = web.reviews.drop(review_id)
    except LookupError:
        raise HTTPException(HTTPStatus.NOT_FOUND, f"there is no answer {review_id}") from None
    if instruction is None:
        return Outcome(instruction="", outcome="done", text="the answer is taken back")
    return hand_in(web, Undo(at=time.time(), who=visitor.name, instruction=instruction), _WAIT_S)


@router.get("/review/ids", response_class=PlainTextResponse)
def reviewed_ids(web: SiteParts, _visitor: Viewer) -> str:
    """Return people who were confirmed in a review, one ID a line: for `reid-train fit --reviewed`."""
    return "".join(f"{person}\n" for person in web.reviews.confirmed_ids())


def hand_in(web: WebSite, instruction: Instruction, wait_s: float) -> Outcome:
    """Give an instruction to the daemon and wait for its answer."""
    behind = web.instructions.events_end()
    place = web.instructions.submit(instruction)
    answer = web.instructions.answer(place, behind, wait_s)
    web.feed.refresh()
    return Outcome.of(place, answer)


def _instruction(asked: Correction, who: str) -> Instruction:
    """Make an instruction from a request.

    Raises:
        ValueError: something is missing or cannot be.
    """

    def given(name: str) -> str:
        value = getattr(asked, name)
        if value is None:
            raise ValueError(f"{asked.do} needs {name}")
        return str(value)

    at, why = time.time(), asked.why
    match asked.do:
        case "merge":
            gone, into = GlobalId(given("gone")), GlobalId(given("into"))
            return MergePeople(at=at, who=who, why=why, gone=gone, into=into, duplicates=asked.duplicates)
        case "split":
            tracks = tuple((CameraId(camera), run, TrackId(track)) for camera, run, track in asked.tracks)
            spans = tuple(
                TrackSpan(camera=CameraId(one.camera), since=one.since, until=one.until) for one in asked.visits
            )
            return SplitTracks(at=at, who=who, why=why, person=GlobalId(given("person")), tracks=tracks, visits=spans)
        case "name":
            return NamePerson(at=at, who=who, why=why, person=GlobalId(given("person")), label=given("label"))
        case "erase":
            return ErasePerson(at=at, who=who, why=why, person=GlobalId(given("person")))
        case "undo":
            return Undo(at=at, who=who, why=why, instruction=given("instruction"))
