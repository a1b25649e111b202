"""The live table and the lines for a pipe."""

import re
from dataclasses import replace
from datetime import UTC, timedelta, timezone

from rich.console import Console

from reid_stream.console.table import CameraRow, PersonRow, Snapshot, changes, live, summary

AT = 1_790_000_000.0
STREET = CameraRow("street", "up", 10.0, 9.8, 12, "file", (768, 576))
PLAZA = CameraRow("plaza", "waiting", 0.0, 0.0, 0, None, None)
MIA = PersonRow("demo-3", "street", AT - 12, "confirmed", 0.81)
NEW = PersonRow("demo-12", "plaza", AT - 1, "provisional", None)
NOW = Snapshot(
    "demo", AT, [MIA, NEW], [STREET, PLAZA], 23, 6, 1432, 75.0, "redis://127.0.0.1:6379, stream reid:demo:events"
)


def drawn(snapshot: Snapshot, height: int = 40, width: int = 110) -> str:
    console = Console(width=width, height=height, record=True, file=None, force_terminal=False)
    with console.capture() as capture:
        console.print(live(snapshot, height, width, UTC))
    return capture.get()


def test_the_table_shows_who_is_where_since_when() -> None:
    row = next(line for line in drawn(NOW).splitlines() if "demo-3" in line)
    assert row.split()[:5] == ["demo-3", "street", "14:13:08", "00:12", "confirmed"]
    assert "0.81" in row


def test_only_the_name_of_the_site_is_inverted() -> None:
    console = Console(width=110, record=True, force_terminal=True, color_system="standard")
    with console.capture() as capture:
        console.print(live(NOW, 40, 110, UTC))
    inverted = re.findall(r"\x1b\[[0-9;]*\b7(?:;[0-9;]*)?m([^\x1b]*)", capture.get())
    assert inverted == [" demo "]


def test_a_person_on_two_cameras_comes_first_and_is_named_once() -> None:
    both = replace(NOW, people=[PersonRow("demo-1", "plaza", AT, "confirmed", 0.9), MIA, replace(MIA, camera="plaza")])
    lines = [line for line in drawn(both).splitlines() if "confirmed" in line]
    assert "demo-3 ⇄" in lines[0]
    assert lines[1].strip().startswith("└")
    assert "demo-1" in lines[2]


def test_a_name_is_shown_beside_the_global_id() -> None:
    assert "demo-3 Mia" in drawn(replace(NOW, people=[replace(MIA, label="Mia")]))


def test_times_are_local() -> None:
    console = Console(width=110, height=40)
    with console.capture() as capture:
        console.print(live(NOW, 40, 110, timezone(timedelta(hours=2))))
    assert "16:13:08" in capture.get()


def test_after_a_restart_the_people_of_earlier_runs_are_counted() -> None:
    assert "global IDs 40" in drawn(replace(NOW, people_seen=0, people_known=40))


def test_at_80_columns_no_column_is_lost_and_no_line_broken() -> None:
    long = "a-camera-in-the-northern-entrance-hall"
    crowd = [replace(MIA, person=f"demo-{n}", label="Maximiliane von Habsburg", camera=long) for n in range(40)]
    cameras = [
        replace(STREET, camera=f"{long}-{n}", size=(3840, 2160), dropped=1234567, latency_s=12.5) for n in range(9)
    ]
    busy = replace(NOW, people=crowd, cameras=cameras, events=123456789, uptime_s=400000)
    text = drawn(busy, height=24, width=80)
    lines = text.rstrip().splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    for head in (
        "camera",
        "state",
        "fps in",
        "used",
        "dropped",
        "latency",
        "clock",
        "size",
        "people",
        "since",
        "similarity",
    ):
        assert head in text
    assert "3840x2160" in text
    assert "1234567" in text
    assert "12500 ms" in text


def test_an_overload_and_why_a_camera_is_down_are_shown_with_advice() -> None:
    down = replace(PLAZA, state="down", reason="rtsp://10.0.0.5/x does not answer")
    text = drawn(replace(NOW, cameras=[STREET, down], overload="overloaded, 40% of the frames are used: lower max_fps"))
    assert "overloaded, 40% of the frames are used: lower max_fps" in text
    assert "plaza: rtsp://10.0.0.5/x does not answer" in text
    lines = list(changes(NOW, replace(NOW, overload="overloaded: lower max_fps")))
    assert lines == ["14:13:20Z overloaded: lower max_fps"]


def test_one_is_not_many() -> None:
    text = summary(replace(NOW, people_seen=1, events=1))
    assert "1 global ID, 1 event in" in text


def test_a_table_of_many_fits_the_terminal() -> None:
    many = replace(
        NOW,
        people=[replace(MIA, person=f"demo-{n}") for n in range(500)],
        cameras=[replace(STREET, camera=f"c{n}") for n in range(200)],
    )
    text = drawn(many, height=30)
    assert len(text.rstrip().splitlines()) <= 30
    assert "more" in text


def test_an_empty_site_reports_it() -> None:
    assert "no people in view" in drawn(replace(NOW, people=[]))


def test_in_a_pipe_each_change_is_one_line_and_no_change_is_none() -> None:
    assert list(changes(NOW, NOW)) == []
    first = list(changes(None, NOW))
    assert first == [
        "14:13:20Z camera street up 768x576 clock=file",
        "14:13:20Z camera plaza waiting",
        "14:13:20Z person demo-3 entered street confirmed similarity=0.81",
        "14:13:20Z person demo-12 entered plaza provisional",
    ]
    later = replace(
        NOW, at=AT + 5, people=[replace(NEW, state="confirmed")], cameras=[replace(STREET, state="down"), PLAZA]
    )
    assert list(changes(NOW, later)) == [
        "14:13:25Z camera street down 768x576 clock=file",
        "14:13:25Z person demo-12 confirmed on plaza",
        "14:13:25Z person demo-3 left street after 17 s",
    ]


def test_the_summary_shows_how_many_kept_their_id() -> None:
    assert summary(NOW).splitlines()[0] == "6 people kept one global ID over both cameras"
    assert summary(replace(NOW, people_on_two=1)).startswith("1 person kept one global ID over both cameras")
    assert "kept" not in summary(replace(NOW, cameras=[STREET]))
