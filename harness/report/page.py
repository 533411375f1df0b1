"""A run's page, made from the run and its evidence alone, and its figures as files."""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from harness.claims.claim import LEVEL, placebos_seen
from harness.inputs.errors import AssayError
from harness.inputs.files.whole_files import write_whole
from harness.inputs.model_catalog import readable
from harness.inputs.prompts.pairs import PairSet
from harness.inputs.prompts.prompt_lists import PromptSet
from harness.judging.verdict import NOT_JUDGED, Kept
from harness.measurements import pairs_evidence
from harness.measurements.evidence import Damaged, Evidence, Store, read
from harness.report.drawing.figures import Figure, figures, recorded
from harness.report.page_policy import policy
from harness.results import wording
from harness.results.controls.control_runs import Controls, Seen
from harness.results.pair_table import Table, kinds_asked, recorded_table, row_of, table
from harness.results.rejudged import doubts
from harness.results.run_record import Judged, Run
from harness.results.verdict_evidence import Material
from harness.subjects.published.recordings import RECORDED, Recording, recording

PAGE = Path(__file__).parent / "template"
# Rows of pairs on the page, all tables together: a browser opens it at once.
ROWS = 24_000
# Of one table however short the run; all of it is a command away.
MOST_ROWS = 5_000
# A pair's prompt, as far as it is shown.
SHOWN = 300
# The forest's scale: shares, with a little room on both sides; what lies beyond is drawn at its edge.
LEAST, MOST = -0.25, 1.1
TICKS = (0, 0.5, 1)


@dataclass(frozen=True)
class Written:
    """What a report came to."""

    page: Path
    bytes: int
    figures: int
    doubts: tuple[str, ...]  # verdicts that do not follow from their numbers, a sentence each


def write(folder: Path, store: Store, to: Path | None = None) -> Written:
    """Writes the page of the run in the folder, into that folder if no other place is given, and figures/ beside it."""
    own = page_of(folder)
    to = own if to is None else to
    home = os.path.relpath(front_page_of(folder.parent), to.parent) if to == own else ""
    report = _Report(Run.load(folder), folder, store, home)
    html = report.html().encode()
    shapes = to.parent / "figures"
    for old in shapes.glob("*.svg"):
        with suppress(OSError):  # what cannot be taken away cannot be written over either, and that is said
            old.unlink()
    drawn = list(report.drawn())
    for name, figure in drawn:
        write_whole(shapes / f"{name}.svg", figure.svg.encode(), synced=False)
    write_whole(to, html, synced=False)
    return Written(to, len(html), len(drawn), tuple(report.doubts.values()))


def page_of(folder: Path) -> Path:
    """Where a run's own page lies."""
    return folder / "index.html"


def front_page_of(runs: Path) -> Path:
    """Where the list of the runs in a folder lies."""
    return runs.parent / "index.html"


def environment(templates: Path) -> Environment:
    """What makes pages of templates: whatever is put into one stands there as text."""
    files = FileSystemLoader(templates)
    found = Environment(loader=files, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    found.filters |= {"coded": _coded, "inline": _inline, "short": _short, "seconds": _seconds, "size": readable}
    found.globals["anchor"] = anchor
    return found


def stylesheet() -> str:
    """Of all pages; no element has a style of its own."""
    ticks = "".join(f".ticks .at-{number} {{ left: {_across(at):.1f}%; }}\n" for number, at in enumerate(TICKS))
    return (PAGE / "style.css").read_text(encoding="utf-8") + ticks


def anchor(claim: str, model: str) -> str:
    """Where on the page a verdict stands."""
    return f"{_slug(claim)}--{_slug(model)}"


class _Report:
    """One run, read once."""

    def __init__(self, run: Run, folder: Path, store: Store, home: str) -> None:
        self._run, self._name, self._store, self._home = run, folder.resolve().name, store, home
        self._seen, self._placebos = Seen(folder.parent, run), placebos_seen()
        self._doubts = doubts(run)
        self._models = list(dict.fromkeys(one["model"] for one in run.verdicts))
        self._claims = list(dict.fromkeys(one["claim"] for one in run.verdicts))
        self._verdicts = {(one["claim"], one["model"]): one for one in run.verdicts}
        self._read: dict[str, Evidence | None] = {}
        self._sets: dict[str, PromptSet | None] = {}

    def html(self) -> str:
        """The page."""
        claims = [self._claim(name) for name in self._claims]
        style, script = stylesheet(), (PAGE / "script.js").read_text(encoding="utf-8")
        return (
            environment(PAGE)
            .get_template("index.html")
            .render(
                run=self._run,
                name=self._name,
                home=self._home,
                doubts=self._doubts,
                headline=wording.headline(self._run),
                union=wording.union_bound(self._run),
                models=[self._model(name) for name in self._models],
                claims=claims,
                ticks=[(f"{_across(at):.1f}", f"{at:g}") for at in TICKS],
                data=_script(self._data),
                style=style,
                script=script,
                policy=policy([style], [script]),
            )
        )

    @property
    def doubts(self) -> dict[tuple[str, str], str]:
        """Why verdicts do not follow from their numbers, in sentences."""
        return {key: f"{' on '.join(key)}: {why}" for key, why in self._doubts.items()}

    def drawn(self) -> Iterator[tuple[str, Figure]]:
        """Every figure, with the name of its file."""
        for (claim, model), some in self._figures.items():
            for figure in some:
                yield f"{anchor(claim, model)}--{_slug(figure.name)}", figure

    def _model(self, name: str) -> dict[str, Any]:
        kind, _, rest = name.partition(":")
        about = self._run.models.get(name)
        return {"name": name, "kind": kind if rest else "", "rest": rest or name, "about": about}

    def _claim(self, name: str) -> dict[str, Any]:
        about = self._run.claims.get(name)
        verdicts = [self._verdicts.get((name, model)) for model in self._models]
        judged = [one for one in verdicts if one is not None and one["word"] not in NOT_JUDGED]
        estimate = wording.deciding(verdicts[0]) if verdicts[0] in judged and verdicts[0] is not None else None
        drawn = [(one, rests_on) for one in judged if (rests_on := wording.deciding(one)) is not None]
        height = max(24, 5 * len(drawn) + 4)
        return {
            "name": name,
            "slug": _slug(name),
            "about": about,
            "title": about["title"] if about else name,
            "cells": verdicts,
            "marks": list(_marks(drawn, height)),
            "height": height,
            "number": "" if estimate is None else wording.number(estimate),
            "estimate": estimate,
            "controls": self._controls(name),
            "verdicts": [self._verdict(one) for one in judged],
            "skipped": [one for one in verdicts if one is not None and one["word"] in NOT_JUDGED],
        }

    def _verdict(self, found: Judged) -> dict[str, Any]:
        pairs = self._pairs(found["model"])
        kinds = [] if pairs is None else kinds_asked(self._evidence(found), pairs)
        placebos = [one for one in [*found["estimates"], *found["beside"]] if "random" in one["name"]]
        effects = [one for one in found["beside"] if one not in placebos]
        return {
            "found": found,
            "anchor": anchor(found["claim"], found["model"]),
            "words": [wording.in_words(one) for one in found["estimates"]],
            "figures": self._figures.get((found["claim"], found["model"]), []),
            "placebos": [_beside(one) for one in placebos],
            "beside": [_beside(one) for one in effects],
            "limits": [*self._imported(found), *wording.limits(found, self._run, kinds)],
            "use": self._use(found),
            "table": self._tables.get((found["claim"], found["model"])),
        }

    def _imported(self, found: Judged) -> Iterator[str]:
        """That strangers measured some of what a verdict read, as it was judged or as its evidence lies here."""
        if source := found.get("recording_from"):
            yield f"Its recording was imported from {source}: nobody here has seen the answers it was made of."
        sources = {one.fingerprint: one.imported["bundle"] for one in self._evidence(found) if one.imported}
        if keys := {*sources, *found.get("imported", ())}:
            names = f" from {', '.join(sorted(set(sources.values())))}" if sources else ""
            yield (
                f"Imported{names}: {len(keys)} of the {len(found['evidence'])} measurements it rests on. Hashes show "
                "damage and no forgery; only measuring again does."
            )

    def _controls(self, name: str) -> dict[str, Any]:
        """Where the claim, as it was judged here, was seen to hold and to fail."""
        about = self._run.claims.get(name)
        if about is None:
            return {"seen": Controls({}, {}), "missing": "", "placebos": None}
        seen, tried = self._seen.of(name, about), self._placebos.get(name)
        placebos = tried if tried and tried["claim"] == about["fingerprint"] and tried["verdicts"] else None
        return {"seen": seen, "missing": "" if seen.both else seen.missing(about), "placebos": placebos}

    def _use(self, found: Judged) -> dict[str, Any]:
        """How the model's pairs were used."""
        pairs = self._pairs(found["model"])
        aside = {
            pair for one in self._evidence(found) if one.recipe.kind == "swept" for pair in one.values["set_aside"]
        }
        sizes = None if pairs is None or not len(pairs.discovery) else (len(pairs.discovery), len(pairs.heldout))
        return {
            "split": sizes,
            "unit": "" if pairs is None else pairs.unit,
            "sharing": pairs.sharing if isinstance(pairs, PairSet) else 0,
            "aside": len(aside),
            "evidence": len(found["evidence"]),
            "gone": len(found["evidence"]) - len(self._evidence(found)),
        }

    @cached_property
    def _figures(self) -> dict[tuple[str, str], list[Figure]]:
        found: dict[tuple[str, str], list[Figure]] = {}
        for claim in self._claims:
            level = self._run.claims[claim]["level"] if claim in self._run.claims else LEVEL
            material: dict[str, Material] = {}
            for model in self._models:
                one = self._verdicts.get((claim, model))
                if one is None or one["word"] in NOT_JUDGED:
                    continue
                if model.startswith(RECORDED):
                    if (published := self._recording(model)) is not None:
                        least = any(estimate["name"].startswith("least") for estimate in one["estimates"])
                        found[claim, model] = recorded(claim, published, level, by_category=least)
                elif (pairs := self._pairs(model)) is not None:
                    material[model] = Material(self._evidence(one), pairs, level)
            for model, some in figures(claim, material).items():
                found[claim, model] = some
        return found

    @cached_property
    def _tables(self) -> dict[tuple[str, str], int]:
        """Which table of the page's data belongs to which verdict."""
        return {key: number for number, (key, _) in enumerate(self._whole)}

    @cached_property
    def _whole(self) -> list[tuple[tuple[str, str], Table]]:
        found = []
        for (claim, model), one in self._verdicts.items():
            if one["word"] in NOT_JUDGED:
                continue
            rows: Table | None = None
            if model.startswith(RECORDED):
                published = self._recording(model)
                rows = None if published is None else recorded_table(published)
            elif (pairs := self._pairs(model)) is not None:
                rows = table(self._evidence(one), pairs)
            if rows is not None:
                found.append(((claim, model), rows))
        most = min(MOST_ROWS, ROWS // max(1, len(found)))
        return [(key, rows.cut(most)) for key, rows in found]

    @property
    def _data(self) -> dict[str, Any]:
        """What the page's script fills tables from; each text once."""
        words: dict[str, int] = {}

        def of(text: str) -> int:
            return words.setdefault(text[:SHOWN] + ("…" if len(text) > SHOWN else ""), len(words))

        used: dict[str, set[int]] = {}
        tables = []
        for (_, model), rows in self._whole:
            used.setdefault(model, set()).update(rows.places)
            columns = [
                {
                    "title": one.title,
                    "kind": one.kind,
                    "values": [*map(of, one.values)] if one.kind == "text" else one.values,
                }
                for one in rows.columns
            ]
            tables.append({"model": model, "places": rows.places, "columns": columns, "whole": rows.whole})
        pairs: dict[str, dict[int, list[int]]] = {}
        for model, places in used.items():
            if (whole := self._pairs(model)) is not None:
                pairs[model] = {place: [*map(of, row_of(whole, place))] for place in sorted(places)}
        return {"words": list(words), "pairs": pairs, "tables": tables}

    def _pairs(self, model: str) -> PromptSet | None:
        """The pairs the model was judged on, if the evidence has them."""
        if model not in self._sets:
            self._sets[model] = self._found_pairs(model)
        return self._sets[model]

    def _found_pairs(self, model: str) -> PromptSet | None:
        if model.startswith(RECORDED):
            published = self._recording(model)
            return None if published is None else published.pairs
        own = (one for verdict in self._run.verdicts if verdict["model"] == model for one in self._evidence(verdict))
        return next((pairs_evidence.kept(one) for one in own if one.recipe.kind in pairs_evidence.KINDS), None)

    def _recording(self, model: str) -> Recording | None:
        try:
            return recording(model)
        except AssayError:  # a bundle's recording may since have been moved away
            return None

    def _evidence(self, found: Judged) -> list[Evidence]:
        """What a verdict read, as far as it is here and whole."""
        for key in found["evidence"]:
            if key not in self._read:
                try:
                    self._read[key] = read(self._store.path(key))
                except (FileNotFoundError, Damaged):
                    self._read[key] = None
        return [one for key in found["evidence"] if (one := self._read[key]) is not None]


def _beside(kept: Kept) -> tuple[str, str, str, list[str]]:
    """An estimate that decides nothing: its name, number, method and the fingerprints of its evidence."""
    return kept["name"], wording.number(kept), kept["method"], kept.get("evidence", [])


def _marks(drawn: Sequence[tuple[Judged, Mapping[str, Any]]], height: int) -> Iterator[dict[str, Any]]:
    """The forest of one claim: a line for each model with an estimate, in the order of the columns."""
    for place, (one, estimate) in enumerate(drawn):
        each = (height - 4) / len(drawn)  # two pixels above and below part a claim from the next
        yield {
            "y": f"{2 + each * (place + 0.5):.1f}",
            "half": f"{min(8.0, each / 2):.1f}",
            "low": f"{_across(estimate['low']):.1f}",
            "high": f"{_across(estimate['high']):.1f}",
            "value": f"{_across(estimate['value']):.1f}",
            "bar": f"{_across(estimate['bar']):.1f}",
            "flag": "0" if place else "2.5" if estimate["sign"] == ">" else "-2.5",
            "word": one["word"],
            "title": f"{one['model']}, {one['word']}: {estimate['name']} {wording.number(estimate)}",
        }


def _across(value: float) -> float:
    """Where a number stands in the forest, 0 to 100; NaN stands nowhere and is not drawn."""
    return 100 * (min(max(value, LEAST), MOST) - LEAST) / (MOST - LEAST)


def _coded(text: str) -> Markup:
    """What stands between backticks as code; all else as it is, harmless."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704


def _inline(svg: str) -> Markup:
    """A figure as it stands in the page, which sets the colours that a file falls back to."""
    return Markup(re.sub(r"var\((--\w+),[^)]*\)", r"var(\1)", svg))  # noqa: S704


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def _slug(text: str) -> str:
    """For file names and links."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-").lower()


def _script(data: Mapping[str, Any]) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
