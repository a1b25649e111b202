"""The list of event types."""

from typing import get_args

from reid_stream.events import EVENT_TYPES, NewsEvent, StateEvent


def test_every_type_is_news_or_changes_state() -> None:
    assert {kind for kind in EVENT_TYPES if not issubclass(kind, NewsEvent)} == set(get_args(StateEvent))


def test_a_host_reports_its_cameras_workers_and_faults_but_no_people_and_not_the_whole_site() -> None:
    others = {kind.type for kind in EVENT_TYPES if not kind.is_of_host}
    assert {"camera.added.v1", "camera.removed.v1", "daemon.heartbeat.v1", "daemon.dropped.v1"} <= others
    assert {each for each in others if each.startswith("worker.")} == set()
    assert all(kind.type in others for kind in EVENT_TYPES if kind.type.startswith(("identity.", "zone.", "line.")))
    assert {"camera.up.v1", "camera.changed.v1", "daemon.stalled.v1"} & others == set()
