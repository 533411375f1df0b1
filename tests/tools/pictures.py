"""Remakes the sample report of the docs and its three screenshots: `python -m tests.tools.pictures`, after `make`."""

import shutil
from pathlib import Path

from harness.inputs import places
from harness.measurements.evidence import Store
from harness.report.page import write
from harness.results.run_list import latest
from tests.tools.browsers import chromium

DOCS = places.HOME / "docs" / "report"
CLAIM = "direction-necessity"


def main() -> None:
    page = write(latest(places.runs()), Store(places.evidence()), DOCS / "index.html").page
    shutil.rmtree(DOCS / "figures")  # they are on the page
    for name, size, place in (
        ("first-screen", (1440, 900), None),
        ("phone", (390, 844), None),
        ("claim", (1200, 900), f"#{CLAIM}"),
    ):
        picture(page, DOCS / f"{name}.png", size, place)
        print(DOCS / f"{name}.png")


def picture(page: Path, to: Path, size: tuple[int, int], place: str | None) -> None:
    """The first screen, or one element of the page."""
    with chromium() as browser:
        shown = browser.new_page(viewport={"width": size[0], "height": size[1]})
        shown.goto(page.as_uri())
        (shown if place is None else shown.locator(place)).screenshot(path=to)


if __name__ == "__main__":
    main()
