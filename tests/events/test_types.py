"""The list of event types."""

from typing import get_args

from reid_stream.events import EVENT_TYPES, NewsEvent, StateEvent


def test_every_type_is_news_or_changes_state() -> None:
    assert {kind for kind in EVENT_TYPES if not issubclass(kind, NewsEvent)} == set(get_args(StateEvent))
