"""Visits as tables, read back."""

import csv
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reid_stream.cli import app
from reid_stream.events import IdentityMerged, IdentityNamed
from reid_stream.records import GlobalId
from tests.outlets.site import T0, TILL, Stream, entered, forge_events, left, stream


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stream]:
    with stream(tmp_path_factory.mktemp("export")) as made:
        made.publish(
            entered("shop-1"), left("shop-1"),
            entered("shop-2", TILL, T0 + 20, 2), left("shop-2", TILL, T0 + 20, T0 + 25.5),
            IdentityMerged(
                person=GlobalId("shop-1"), revision=2, previous=GlobalId("shop-2"), similarity=0.9, probability=0.99,
                merged_at=T0 + 30,
            ),
            IdentityNamed(person=GlobalId("shop-1"), revision=3, label="=HYPERLINK(1)", by="op", named_at=T0 + 31),
            entered("shop-3", TILL, T0 + 40, 3),
        )  # fmt: skip
        yield made


def _export(site: Stream, *options: str) -> str:
    result = CliRunner().invoke(app, ["export", "visits", "--url", site.url, "--site", "shop", *options])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_visits_are_written_as_csv_under_the_ids_of_today(site: Stream) -> None:
    rows = list(csv.DictReader(_export(site).splitlines()))
    assert [(row["person"], row["camera"], row["seconds"]) for row in rows] == [
        ("shop-1", "door", "10.0"),
        ("shop-1", "till", "5.5"),
        ("shop-3", "till", "0.0"),
    ]
    assert [row["is_over"] for row in rows] == ["true", "true", "false"]
    assert datetime.fromisoformat(rows[1]["since"]) == datetime.fromtimestamp(T0 + 20, UTC)
    # A spreadsheet does not take a name for a formula.
    assert rows[0]["name"] == "'=HYPERLINK(1)"


def test_a_time_chooses_the_visits(site: Stream) -> None:
    since, until = (datetime.fromtimestamp(T0 + at, UTC).isoformat() for at in (15, 35))
    rows = list(csv.DictReader(_export(site, "--since", since, "--until", until).splitlines()))
    assert [(row["person"], row["camera"]) for row in rows] == [("shop-1", "till")]


def test_parquet_has_types(site: Stream, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    assert "3 visits" in _export(site, "--format", "parquet", "--out", str(tmp_path / "v.parquet"))
    table = parquet.read_table(tmp_path / "v.parquet")
    assert str(table.schema.field("since").type) == "timestamp[us, tz=UTC]"
    rows = table.to_pylist()
    assert rows[0]["name"] == "=HYPERLINK(1)"
    assert rows[1]["since"] == datetime.fromtimestamp(T0 + 20, UTC)
    assert (rows[0]["probability"], rows[2]["is_over"]) == (0.97, False)
    assert [path.name for path in tmp_path.iterdir()] == ["v.parquet"]


def test_parquet_needs_a_file(site: Stream) -> None:
    result = CliRunner().invoke(app, ["export", "visits", "--url", site.url, "--site", "shop", "--format", "parquet"])
    assert result.exit_code != 0
    assert "--out" in str(result.exception)


def test_forged_events_cost_no_other_a_line(tmp_path: Path) -> None:
    with stream(tmp_path) as site:
        forge_events(site)
        site.publish(entered("shop-1"), left("shop-1"))
        assert [row["person"] for row in csv.DictReader(_export(site).splitlines())] == ["shop-1"]
