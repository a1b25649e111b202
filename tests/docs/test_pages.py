"""The documentation agrees with the code, its links lead somewhere, and the site needs no network."""

import re
from pathlib import Path

import pytest

from docs.generators.pages import PAGES

TOP = Path(__file__).parents[2]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


@pytest.mark.parametrize("name", PAGES)
def test_reference_pages_are_what_the_code_generates(name: str) -> None:
    assert (TOP / "docs/reference" / name).read_text(encoding="utf-8") == PAGES[name](), "run `make docs`"


def test_every_reference_page_is_generated() -> None:
    assert {path.name for path in (TOP / "docs/reference").iterdir()} == set(PAGES)


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "deploy/README.md"])
def test_relative_links_outside_the_site_lead_to_files(name: str) -> None:
    page = TOP / name
    text = page.read_text(encoding="utf-8")
    targets = [target for target in LINK.findall(text) if not re.match(r"[a-z]+:|#", target)]
    assert not [target for target in targets if not (page.parent / target.partition("#")[0]).exists()]
    for path, _, anchor in (target.partition("#") for target in targets if "#" in target):
        assert anchor in anchors((page.parent / path).read_text(encoding="utf-8")), f"{path} has no #{anchor}"


def test_readme_fits_a_screen_or_three() -> None:
    lines = (TOP / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150


def test_every_decision_has_its_four_parts_and_is_listed() -> None:
    records = sorted((TOP / "docs/decisions").glob("0*.md"))
    index = (TOP / "docs/decisions/index.md").read_text(encoding="utf-8")
    assert [int(path.name[:4]) for path in records] == list(range(1, len(records) + 1))
    for path in records:
        found = re.findall(r"^## (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert found == ["Status", "Context", "Decision", "Consequences"], path.name
        assert f"({path.name})" in index


def test_images_ask_no_third_party_for_anything() -> None:
    for path in (TOP / "docs/images").glob("*.svg"):
        text = path.read_text(encoding="utf-8")
        found = set(re.findall(r"https?://[^\"'\s)<]+", text)) - {
            "http://www.w3.org/2000/svg",
            "https://www.textualize.io",
        }
        assert not found, path.name


def test_the_site_loads_nothing_from_elsewhere() -> None:
    settings = (TOP / "mkdocs.yml").read_text(encoding="utf-8")
    assert "font: false" in settings, "the theme would load web fonts"
    assert "polyfills: [javascripts/iframe-worker.js]" in settings, (
        "the offline plugin would load it from a third party"
    )
    assert (TOP / "docs/javascripts/iframe-worker.js").is_file()


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as the site makes them."""
    titles = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", title.lower()).strip()) for title in titles}
