"""``docs/published_audit.md``: what the audit found, in plain words and numbers from the facts."""

import itertools
import re
from functools import partial
from pathlib import Path

import jinja2
import pandas as pd

from benchmark import files
from benchmark.analysis import labels
from benchmark.analysis.report import Section, embed
from benchmark.errors import BenchmarkError
from benchmark.published import compare, facts
from benchmark.published.findings import SEVERITIES
from benchmark.published.judgement import AS_RELEASED, CLEANED, OUTCOMES, summary
from benchmark.published.rules import RULES
from benchmark.training.config import DEFAULT

_RELEASES = ["r3dm_release", "acorm_release"]
_TEMPLATES = Path(__file__).parent / "templates"


def write(folder: Path, output: Path) -> None:
    """Writes the document from the facts of a folder.

    Raises:
        BenchmarkError: a file is missing or of another version, or the facts are not those of the
            releases that the document speaks of.
    """
    said = context(folder)
    names = [source["name"] for source in said["sources"]]
    if names != _RELEASES:
        raise BenchmarkError(
            f"the document speaks of {' and '.join(_RELEASES)}; {folder} holds facts of"
            f" {' and '.join(names)}"
        )
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        autoescape=False,
    )
    environment.filters.update(number=_number, label=labels.label)
    environment.globals.update(label=labels.label)
    text = environment.get_template("published_audit.md.j2").render(said)
    text = "".join(f"{line.rstrip()}\n" for line in text.splitlines())
    with files.atomic(Path(output)) as temporary:
        temporary.write_text(text, encoding="utf-8")


def section(folder: Path) -> Section:
    """The part of a study's report on published results.

    Args:
        folder: where the study was compared with them.

    Raises:
        BenchmarkError: it was not, or a file is damaged.
    """
    claims, reproduction = compare.read(folder)
    known = context(facts.FOLDER)
    content = {
        "compared": embed(folder, {"compare": compare.CAPTION}, "published compare"),
        "pictures": embed(facts.FOLDER / "figures", known["pictures"], "published distill"),
        "sources": known["sources"],
        "rules": known["rules"],
        "findings": known["findings"],
        "claims": claims_summary(claims),
        "judged": claims[claims["verdict"] != "no valid data"].to_dict("records"),
        "reproduction": reproduction.to_dict("records"),
    }
    return Section(_TEMPLATES / "published.html.j2", content)


def context(folder: Path) -> dict:
    """What the document and the report say of the facts."""
    tables, about = facts.read(folder)
    findings, judged, sources = tables["findings"], tables["claims"], about["sources"]
    first = sources[0]["name"]
    return {
        "sources": sources,
        "window": about["window"],
        "pictures": about["pictures"],
        "rules": _rules(findings),
        "findings": findings.to_dict("records"),
        "excluded": {source["name"]: _excluded(findings, source["name"]) for source in sources},
        "gone": _gone(tables["final"], first),
        "hit_maps": _maps(
            findings[(findings["source"] == first) & (findings["severity"] == "error")]
        ),
        "offsets": _offsets(findings[findings["source"] == first]),
        "largest": findings.groupby("rule")["size"].max().to_dict(),
        "final": _final(tables["final"], sources),
        "claims": claims_summary(judged),
        "judged": judged,
        "against": f"against {sources[1]['title']}" if len(sources) > 1 else "",
        "compared": partial(_compared, judged),
        "tally": partial(_tally, judged),
        "recovery": _recovery(tables["recovery"]),
    }


def _compared(judged: pd.DataFrame, claim: str, data: str, right: str, place: str = "") -> dict:
    """One comparison of a claim; None where it was not made."""
    rows = judged[(judged["claim"] == claim) & (judged["data"] == data)]
    if right:
        rows = rows[rows["right"] == right]
    if place:
        rows = rows[rows["place"] == place]
    return rows.iloc[0].to_dict() if len(rows) else None


def _tally(judged: pd.DataFrame, claim: str, data: str, right: str) -> dict:
    """How the comparisons of a claim with one method end."""
    rows = judged[(judged["claim"] == claim) & (judged["data"] == data)]
    rows = rows[rows["right"] == right]
    counts = {outcome: int((rows["outcome"] == outcome).sum()) for outcome in OUTCOMES}
    return {**counts, "judged": len(rows) - counts["no valid data"]}


def _excluded(findings: pd.DataFrame, source: str) -> dict:
    """How many curves of a source are left out whole, and how many because they are no tests."""
    rows = findings[(findings["source"] == source) & (findings["rule"] != "reused")]

    def names(part: pd.DataFrame) -> set[str]:
        parts = (name for text in part["excluded"] for name in text.split(" | ") if name)
        return {name for name in parts if " rows " not in name}

    kinds = rows[rows["rule"].isin(("not_test", "not_test_kin", "training_tag"))]
    return {
        "curves": len(names(rows)),
        "wrong_kind": len(names(kinds)),
        "algorithms": sorted(set(rows[rows["excluded"] != ""]["algorithm"]), key=labels.order),
    }


def _maps(findings: pd.DataFrame) -> list[str]:
    return sorted(set(findings["map"]) - {""}, key=labels.map_order)


def _gone(final: pd.DataFrame, source: str) -> list[str]:
    """Methods of which no valid run is left on a map."""
    rows = final[(final["source"] == source) & (final["variant"] == DEFAULT)]
    had, has = (
        set(
            map(
                tuple,
                rows[(rows["data"] == data) & (rows["n"] > 0)][["map", "algorithm"]].to_numpy(),
            )
        )
        for data in (AS_RELEASED, CLEANED)
    )
    lost = sorted(had - has, key=lambda cell: (labels.map_order(cell[0]), labels.order(cell[1])))
    return [f"{labels.label(algorithm)} on {map}" for map, algorithm in lost]


def _offsets(findings: pd.DataFrame) -> dict:
    """What the offsets of evaluations tell: on which maps methods or runs began differently."""
    rows = findings[(findings["rule"] == "step_offset") & (findings["variant"] == DEFAULT)]
    found = {
        row["map"]: {
            name: [int(number) for number in re.findall(r"\d+(?!\d*%)", numbers)]
            for name, numbers in re.findall(
                r"(\w+) ((?:\d+(?: \(\d+%\))?(?: and )?)+)", row["evidence"]
            )
        }
        for row in rows.to_dict("records")
    }
    return {
        "maps": len(found),
        "least": min(
            (min(o) for m in found.values() for n, o in m.items() if n != "qmix"), default=0
        ),
        "mixed": [map for map, each in found.items() if len(each.get("r3dm", ())) > 1],
        "unlike": [
            map
            for map, each in found.items()
            if {"r3dm", "acorm"} <= set(each) and each["r3dm"][0] != each["acorm"][0]
        ],
    }


def _number(value: float) -> str:
    return f"{value:,.0f}"


def _rules(findings: pd.DataFrame) -> list[dict]:
    """Each rule that found something, by how bad that is: how often, and what it means."""
    rows = []
    for (name, rule), severity in itertools.product(RULES.items(), SEVERITIES):
        found = findings[(findings["rule"] == name) & (findings["severity"] == severity)]
        if len(found):
            meaning = rule.__doc__.strip().splitlines()[0].removeprefix("Finds ").strip(".")
            rows.append(
                {
                    "name": name,
                    "meaning": meaning,
                    "severity": severity,
                    "count": found.groupby("source").size().to_dict(),
                    "excluded": int(found["excluded"].map(_parts).sum()),
                }
            )
    return rows


def _parts(text: str) -> int:
    return len(text.split(" | ")) if text else 0


def _final(final: pd.DataFrame, sources: list[dict]) -> list[dict]:
    """Per map: the final win rates of the methods, drawn and cleaned, and from other releases."""
    rows = final[(final["metric"] == "win_rate") & (final["variant"] == DEFAULT)]
    first, *others = (source["name"] for source in sources)
    found = []
    main = rows[rows["source"] == first]
    for map in sorted(main["map"].unique(), key=labels.map_order):
        cells = {}
        for algorithm in sorted(main["algorithm"].unique(), key=labels.order):
            cells[algorithm] = {
                data: _one(main, map, algorithm, data) for data in (facts.DRAWN, CLEANED)
            }
        elsewhere = {
            name: {
                algorithm: _one(rows[rows["source"] == name], map, algorithm, CLEANED)
                for algorithm in cells
            }
            for name in others
        }
        found.append({"map": map, "cells": cells, "elsewhere": elsewhere})
    return found


def _one(rows: pd.DataFrame, map: str, algorithm: str, data: str) -> dict | None:
    part = rows[(rows["map"] == map) & (rows["algorithm"] == algorithm) & (rows["data"] == data)]
    if part.empty or pd.isna(part["mean"].iloc[0]):
        return None
    return part.iloc[0].to_dict()


def claims_summary(judged: pd.DataFrame) -> list[dict]:
    """Per claim: how many comparisons hold, fail, stay open or have no valid data, by data."""
    counts = summary(judged)
    return [
        {"says": says, "stated": judged.loc[judged["claim"] == claim, "stated"].iloc[0],
         "id": claim, "data": part.set_index("data")[list(OUTCOMES)].to_dict("index")}
        for (claim, says), part in counts.groupby(["claim", "says"], sort=False)
    ]  # fmt: skip


def _recovery(recovery: pd.DataFrame) -> dict:
    """How the spreads of scores by rank compare with the true ones."""
    ratios = recovery[["sd_estimated", "sd_widest"]].div(recovery["sd"], axis=0)
    return {
        "cells": len(recovery),
        "estimated": float(ratios["sd_estimated"].median()),
        "widest": float(ratios["sd_widest"].median()),
    }
