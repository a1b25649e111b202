"""The live table and the lines for a pipe."""

from dataclasses import replace

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


def drawn(snapshot: Snapshot, height: int = 40) -> str:
    console = Console(width=110, height=height, record=True, file=None, force_terminal=False)
    with console.capture() as capture:
        console.print(live(snapshot, height))
    return capture.get()


def test_the_table_says_who_is_where_since_when() -> None:
    row = next(line for line in drawn(NOW).splitlines() if "demo-3" in line)
    assert row.split()[:5] == ["demo-3", "street", "14:13:08", "00:12", "confirmed"]
    assert "0.81" in row


def test_a_person_on_two_cameras_comes_first_and_is_named_once() -> None:
    both = replace(NOW, people=[PersonRow("demo-1", "plaza", AT, "confirmed", 0.9), MIA, replace(MIA, camera="plaza")])
    lines = [line for line in drawn(both).splitlines() if "confirmed" in line]
    assert "demo-3 ⇄" in lines[0]
    assert lines[1].strip().startswith("└")
    assert "demo-1" in lines[2]


def test_a_name_stands_beside_the_global_id() -> None:
    assert "demo-3 Mia" in drawn(replace(NOW, people=[replace(MIA, label="Mia")]))


def test_a_table_of_many_fits_the_terminal() -> None:
    many = replace(
        NOW,
        people=[replace(MIA, person=f"demo-{n}") for n in range(500)],
        cameras=[replace(STREET, camera=f"c{n}") for n in range(200)],
    )
    text = drawn(many, height=30)
    assert len(text.rstrip().splitlines()) <= 30
    assert "more" in text


def test_an_empty_site_says_so() -> None:
    assert "nobody in view" in drawn(replace(NOW, people=[]))


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


def test_the_summary_says_how_many_kept_their_id() -> None:
    assert summary(NOW).splitlines()[0] == "6 people kept one global ID over both cameras"
    assert summary(replace(NOW, people_on_two=1)).startswith("1 person kept one global ID over both cameras")
    assert "kept" not in summary(replace(NOW, cameras=[STREET]))
