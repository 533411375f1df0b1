"""The report as it is used: opened in a browser, by mouse and by keyboard, wide and narrow, light and dark."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from harness.inputs import places
from harness.measurements.evidence import Store
from harness.report.page import page_of, write
from harness.results.run_list import latest
from tests.tools import stories
from tests.tools.browsers import CHROMIUM, chromium

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = places.HOME
HOSTILE = "</script><script>window.hurt = 1</script><img src=x onerror='window.hurt = 2'>&lt;b&gt;\u202e\"'"
# A first screen on a desk and in a hand.
DESK, HAND = (1440, 900), (390, 844)


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """Headless Chromium; without one these tests are skipped, and where ASSAY_BROWSER is set they fail."""
    if CHROMIUM is None:
        missing = "no Chromium here: apt-get install chromium"
        pytest.fail(missing) if os.environ.get("ASSAY_BROWSER") else pytest.skip(missing)
    with chromium() as found:
        yield found


@pytest.fixture
def opened(browser: "Browser") -> "Iterator[Callable[..., Page]]":
    """Opens a page; at the end nothing may have been said on its console, nor asked of any other place."""
    asked: set[str] = set()
    wanted: set[str] = set()
    said: list[str] = []
    pages: list[Page] = []

    def open_(path: Path, size: tuple[int, int] = DESK, scheme: Literal["light", "dark"] = "light") -> "Page":
        page = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.add(request.url.partition("#")[0]))
        wanted.add(path.as_uri())
        page.goto(path.as_uri())
        pages.append(page)
        return page

    yield open_
    for page in pages:
        page.close()
    assert said == []
    assert {url for url in asked if not url.startswith("data:")} <= wanted


@pytest.fixture(scope="module")
def default(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the default run; what `make` has measured here already is measured no second time."""
    folder = tmp_path_factory.mktemp("default")
    if places.evidence().exists():
        shutil.copytree(places.evidence(), folder / "evidence")
    command = [sys.executable, "-m", "pytest", "hypotheses", "--evidence", str(folder / "evidence")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode in (0, 1, 10), done.stdout[-3000:]
    return page_of(latest(folder / "runs"))


def violations(page: "Page") -> list[str]:
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {one['nodes'][0]['html'][:120]} ({len(one['nodes'])})" for one in found]


def opened_up(page: "Page") -> None:
    """What stands behind a click is shown; tables of pairs are filled when they are asked for."""
    page.evaluate("document.querySelectorAll('details:not(.pairs)').forEach(box => (box.open = true))")


def overflow(page: "Page") -> int:
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def test_the_first_screen_answers_which_claims_hold_where_by_how_much_and_whether_they_can_fail(
    default: Path, opened: "Callable[..., Page]"
) -> None:
    page = opened(default)
    assert "claims supported on organism:reference" in page.inner_text("h1")
    rows = page.locator(".grid").first.locator("tbody tr")
    assert rows.count() >= 20
    for number in range(rows.count()):
        row = rows.nth(number)
        box = row.bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= DESK[1], "beyond the first screen"
        words = row.inner_text()
        assert number >= 14 or "exploratory" not in words
        assert any(word in words for word in ("supported", "refuted", "inconclusive")), words
        assert row.locator(".forest .interval").count() >= 1
        assert any(sign in row.locator(".number").inner_text() for sign in "<>")
        assert row.locator(".control").inner_text().strip()
    assert overflow(page) <= 0


def test_on_a_phone_every_claim_is_legible_without_sideways_scrolling(
    default: Path, opened: "Callable[..., Page]"
) -> None:
    page = opened(default, HAND)
    assert overflow(page) <= 0
    first = page.locator(".grid tbody tr").first
    assert "supported" in first.inner_text()
    sizes = page.evaluate(
        "[...document.querySelectorAll('.grid tbody *')].filter(n => n.childNodes.length && n.getClientRects().length"
        " && !n.closest('svg') && !n.classList.contains('sr')).map(n => parseFloat(getComputedStyle(n).fontSize))"
    )
    assert min(sizes) >= 12


def test_a_link_opens_what_it_leads_into_and_print_shows_what_is_folded(
    default: Path, opened: "Callable[..., Page]"
) -> None:
    page = opened(default)
    folded = page.locator("[id='baseline--recorded-yi-6b-chat']")
    assert not folded.is_visible()
    page.locator(".grid").nth(1).locator("tbody tr").first.locator(".cell a").nth(2).click()
    folded.wait_for(state="visible")
    assert page.locator("details.more[open]").count() == 0
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open]):not(.pairs)").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, HAND], ids=["desk", "hand"])
def test_contrast_landmarks_and_names_are_as_they_should_be(
    default: Path, opened: "Callable[..., Page]", size: tuple[int, int], scheme: str
) -> None:
    page = opened(default, size, scheme)
    opened_up(page)
    for summary in page.locator("details.pairs summary").all()[:3]:
        summary.click()
    assert violations(page) == []


def test_the_keyboard_reaches_everything_and_shows_where_it_is(default: Path, opened: "Callable[..., Page]") -> None:
    page = opened(default)
    opened_up(page)
    able = page.locator("a[href], summary, button, input, [tabindex='0']")
    wanted = {able.nth(number).evaluate("n => n.outerHTML.slice(0, 200)") for number in range(able.count())}
    reached = set()
    for _ in range(able.count() + 5):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.outerHTML.slice(0, 200)"))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none" or page.evaluate("document.activeElement === document.body")
    assert wanted <= reached


def test_a_verdict_leads_to_its_pairs_which_can_be_searched_and_sorted(
    default: Path, opened: "Callable[..., Page]"
) -> None:
    page = opened(default)
    page.locator(".grid tbody tr", has_text="Removing the direction everywhere").locator(".cell a").first.click()
    article = page.locator("article:target")
    assert "Harmful prompts going from refused to answered" in article.inner_text()
    for words in ("Figures, other", "Table of pairs"):
        article.locator("summary", has_text=words).focus()
        page.keyboard.press("Enter")
    body = article.locator(".pairs tbody")
    first, many = body.locator("tr").first.inner_text(), body.locator("tr").count()
    assert many == 20
    assert "no longer refused" in body.inner_text()
    heading = article.locator("th", has_text="prompt")
    heading.locator("button").click()
    prompts = body.locator("td.text:first-of-type, td:nth-child(3)").all_inner_texts()
    assert prompts == sorted(prompts, key=str.lower)
    assert heading.get_attribute("aria-sort") == "ascending"
    article.locator("input").fill("hospital")
    assert all("hospital" in row.lower() for row in body.locator("tr").all_inner_texts())
    article.locator("input").fill("no prompt says this")
    assert body.locator("tr").count() == 0
    article.locator("input").fill("")
    article.locator("button.more").click()
    assert body.locator("tr").count() > many
    assert first


@pytest.mark.parametrize("size", [DESK, (1280, 800), (800, 1100), HAND, (360, 780)], ids=str)
def test_figures_fit_their_place_and_their_labels_are_legible(
    default: Path, opened: "Callable[..., Page]", size: tuple[int, int]
) -> None:
    page = opened(default, size)
    opened_up(page)
    figures = page.evaluate(
        "[...document.querySelectorAll('figure')].map(figure => {"
        " const own = figure.getBoundingClientRect(), shown = [...figure.querySelectorAll(':scope > svg')]"
        "  .filter(svg => svg.getClientRects().length), b = shown[0].getBoundingClientRect();"
        " const scale = b.width / shown[0].viewBox.baseVal.width, texts = [...shown[0].querySelectorAll('text')];"
        " return {shown: shown.length, room: own.width, width: b.width, height: b.height,"
        "  caption: figure.querySelector('figcaption').innerText.trim(),"
        "  least: Math.min(...texts.map(t => parseFloat(getComputedStyle(t).fontSize) * scale)),"
        "  clipped: texts.filter(t => { const r = t.getBoundingClientRect(); return r.left < b.left - 1 ||"
        "   r.right > b.right + 1 || r.top < b.top - 1 || r.bottom > b.bottom + 1; }).map(t => t.textContent)};"
        "})"
    )
    assert len(figures) >= 20
    for figure in figures:
        assert figure["shown"] == 1
        assert figure["caption"]
        assert figure["width"] <= figure["room"] + 1
        assert figure["height"] > 40
        assert figure["least"] >= 10
        assert figure["clipped"] == []
    assert overflow(page) <= 0


@pytest.mark.parametrize("size", [DESK, HAND], ids=["desk", "hand"])
def test_titles_stand_whole_and_the_report_is_short(
    default: Path, opened: "Callable[..., Page]", size: tuple[int, int]
) -> None:
    page = opened(default, size)
    cut = page.evaluate(
        "[...document.querySelectorAll('.grid .claim a, .claimed h2')].filter(n => n.scrollWidth > n.clientWidth + 1 ||"
        " n.scrollHeight > n.clientHeight + 1).map(n => n.textContent)"
    )
    assert cut == []
    titles = page.locator(".claimed h2").all_inner_texts()
    rows = page.locator(".grid").first.locator("tbody .claim")
    marked = ["exploratory" in row for row in rows.all_inner_texts()]
    links = rows.locator("a").all_inner_texts()
    # The registered claims come first; within either, claims stand as below.
    assert marked == sorted(marked)
    assert set(links[: marked.index(True)]) == set(titles) - set(links[marked.index(True) :])
    assert [title for title in titles if title in links[: marked.index(True)]] == links[: marked.index(True)]
    assert [title for title in titles if title in links[marked.index(True) :]] == links[marked.index(True) :]
    assert page.evaluate("document.documentElement.scrollHeight") <= (15 if size is DESK else 30) * size[1]


def test_recorded_models_have_a_table_of_their_own_with_hardly_a_dash(
    default: Path, opened: "Callable[..., Page]"
) -> None:
    page = opened(default)
    for grid in page.locator(".grid").all():
        assert grid.locator(".cell.none").count() <= grid.locator(".cell").count() / 4
    recorded = page.locator(".grid").nth(1)
    assert recorded.locator("th.model").count() == 5
    assert recorded.locator("tbody tr").count() >= 3


def test_what_is_judged_is_drawn_with_its_bars_and_no_picture_twice(
    default: Path, opened: "Callable[..., Page]"
) -> None:
    page = opened(default)
    drawn = page.locator("#execution--judged > svg:visible").text_content() or ""
    for words in ("effect that the last third writes into logits", "the same, beyond a harmless behaviour's blocks"):
        assert words in drawn
    judged = page.locator(".group:has(article)")
    for number in range(judged.count()):
        said = judged.nth(number).locator("article ul.words li").count()
        assert judged.nth(number).locator(".judged figure").count() == (1 if said else 0)
    assert "rests on 2 of 64 heads" in page.locator("#gradients").inner_text()
    assert "strongest of 20 random directions removed" in page.locator("#removal-specificity").inner_text()
    pictures = page.evaluate("[...document.querySelectorAll('figure')].map(n => n.innerHTML)")
    assert len(pictures) == len(set(pictures))
    again = page.locator(".again a")
    assert again.count() > 0
    for link in again.all():
        assert page.locator(f"[id='{(link.get_attribute('href') or '#')[1:]}']").count() == 1


def test_the_default_report_is_under_a_megabyte_and_prints(
    default: Path, opened: "Callable[..., Page]", tmp_path: Path
) -> None:
    assert default.stat().st_size < 1_000_000
    page = opened(default)
    printed = page.pdf(path=tmp_path / "report.pdf")
    assert printed.startswith(b"%PDF")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_hostile_texts_are_shown_and_never_run(opened: "Callable[..., Page]", tmp_path: Path) -> None:
    run = stories.told(tmp_path, ["a claim"], [f"m{HOSTILE}"], stories.pairs(40, HOSTILE), HOSTILE)
    page = opened(write(run, Store(tmp_path / "evidence"), tmp_path / "index.html").page)
    opened_up(page)
    page.locator("details.pairs summary").click()
    assert page.evaluate("window.hurt") is None
    assert "<img src=x onerror=" in page.locator(".pairs tbody").inner_text()
    assert page.locator(".pairs tbody img, .pairs tbody script").count() == 0
    # A mark that turns text round ends with the cell that holds it.
    assert page.locator(".pairs td").first.evaluate("n => getComputedStyle(n).unicodeBidi") == "isolate"
    assert overflow(page) <= 0


def test_one_claim_on_one_model(opened: "Callable[..., Page]", tmp_path: Path) -> None:
    run = stories.told(tmp_path, ["a claim"], ["m"], stories.pairs(16))
    page = opened(write(run, Store(tmp_path / "evidence"), tmp_path / "index.html").page)
    assert page.inner_text("h1") == "1 of 1 claim supported on m."
    assert violations(page) == []


@pytest.mark.parametrize("claims", [1, 20])
def test_five_thousand_rows_on_eight_models_open_at_once(
    claims: int, opened: "Callable[..., Page]", tmp_path: Path
) -> None:
    models = [f"organisation/a-model-with-a-long-name-{number}b-instruct" for number in range(8)]
    run = stories.told(tmp_path, [f"claim {number}" for number in range(claims)], models, stories.pairs(10_000))
    written = write(run, Store(tmp_path / "evidence"), tmp_path / "index.html")
    assert written.bytes < 10_000_000
    began = time.perf_counter()
    page = opened(written.page)
    opened_up(page)
    page.locator("details.pairs summary").first.click()
    page.locator(".pairs tbody tr").nth(19).wait_for()
    assert page.locator(".pairs tbody tr").count() == 20
    print(f"{written.bytes / 1e6:.1f} MB, opened and a table filled in {time.perf_counter() - began:.2f} s")
    assert overflow(page) <= 0
