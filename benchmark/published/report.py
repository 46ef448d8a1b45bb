"""What the facts say in words: ``docs/published_audit.md``, and the section of a study's report."""

import itertools
from pathlib import Path

import jinja2
import pandas as pd

from benchmark import files
from benchmark.analysis import labels
from benchmark.analysis.rendering import templates
from benchmark.analysis.report import Section, embed
from benchmark.analysis.statistics import select
from benchmark.envs.maps import MAPS
from benchmark.errors import BenchmarkError
from benchmark.published import claims, compare, facts, sources
from benchmark.published.claims import AS_RELEASED, CLEANED, OUTCOMES
from benchmark.published.rules import RULES, SEVERITIES
from benchmark.training.config import DEFAULT

_RELEASES = ["r3dm_release", "acorm_release"]
_CLAIM = ["claim", "says", "stated", "data"]
_TEMPLATES = Path(__file__).parent / "templates"


def write(folder: Path, output: Path) -> None:
    """Writes the document from the facts of a folder.

    Raises:
        BenchmarkError: a file is missing or of another version, or the facts are not those of the
            releases that the document speaks of.
    """
    tables, about = facts.read(folder)
    sources, tests = about["sources"], tables["claims"]
    names = [source["name"] for source in sources]
    if names != _RELEASES:
        raise BenchmarkError(
            f"the document speaks of {' and '.join(_RELEASES)}; {folder} holds facts of"
            f" {' and '.join(names)}"
        )
    findings, first = tables["findings"], names[0]
    errors = select(findings, source=first, severity="error")
    text = markdown("published_audit.md.j2").render(
        sources=sources,
        window=about["window"],
        rules=rules(tables),
        findings=findings.to_dict("records"),
        excluded={name: _excluded(tables["exclusions"], name) for name in names},
        gone=_gone(tables["final"], first),
        hit_maps=sorted(set(errors["map"]), key=labels.map_order),
        offsets=_offsets(tables["offsets"], first),
        largest=findings.groupby("rule")["size"].max().to_dict(),
        final=_final(tables["final"], names),
        claims=claims_by_outcome(tests),
        ablations=_ablations(tests).to_dict("records"),
        partial=select(tests, data=CLEANED, outcome="partial").to_dict("records"),
        against=f"against {sources[1]['title']}",
        compared=lambda *which: next(iter(_comparisons(tests, *which).to_dict("records")), None),
        tally=lambda *which: _tally(_comparisons(tests, *which)),
        recovery=_recovery(tables["recovery"]),
    )
    text = "".join(f"{line.rstrip()}\n" for line in text.splitlines())
    files.write(text, output)


def markdown(name: str) -> jinja2.Template:
    """A template of a Markdown page."""
    return templates(_TEMPLATES).get_template(name)


def section(folder: Path, maps: list[str]) -> Section:
    """The part of a study's report on published results, as far as they are of its maps.

    Args:
        folder: where the study was compared with them.
        maps: of the study.

    Raises:
        BenchmarkError: it was not, or a file is damaged.
    """
    tests, reproduction = compare.read(folder)
    tables, about = facts.read()
    tables = {name: _of_maps(table, maps) for name, table in tables.items()}
    tests = tests[(tests["data"] == "ours") | tests["place"].map(lambda at: _within(at, maps))]
    pictures = {name: text for name, text in about["pictures"].items() if _shown(name, about, maps)}
    content = {
        "compared": embed(folder, {"compare": compare.CAPTION}, "published compare"),
        "pictures": embed(facts.FOLDER / "figures", pictures, "published facts"),
        "sources": about["sources"],
        "rules": rules(tables),
        "findings": tables["findings"].to_dict("records"),
        "claims": claims_by_outcome(tests),
        "tests": tests[tests["verdict"] != "no valid data"].to_dict("records"),
        "reproduction": reproduction.to_dict("records"),
        "window": about["window"],
    }
    return Section(_TEMPLATES / "published.html.j2", content)


def _of_maps(table: pd.DataFrame, maps: list[str]) -> pd.DataFrame:
    """The rows of some maps, and those of no single map."""
    return table[table["map"].isin([*maps, ""])] if "map" in table else table


def _within(place: str, maps: list[str]) -> bool:
    """Whether a comparison is of some maps: "corridor", or a suite, all of whose maps it needs."""
    if place in MAPS:
        return place in maps
    suites = [name for name, title in labels.FAMILIES.items() if title in place.split()]
    needed = {map for claim in claims.load(claims.PAPER).claims for map in claim.maps}
    return all(map in maps for map in needed if labels.family(map) in suites)


def _shown(name: str, about: dict, maps: list[str]) -> bool:
    """Whether a picture of the facts is of the study's maps alone."""
    for source in about["sources"]:
        drawn = {figure.name: figure.maps for figure in sources.load(source["name"]).figures}
        drawn[f"audit_{source['name']}"] = list(source["ends"])
        if name in drawn:
            return set(drawn[name]) <= set(maps)
    return set(about["sources"][0]["ends"]) <= set(maps)  # the picture of a claim: all maps


def rules(tables: dict[str, pd.DataFrame]) -> list[dict]:
    """Each rule that found something, by how bad that is: how often, and how much it excludes."""
    found = tables["findings"].groupby(["rule", "severity", "source"]).size()
    excluded = tables["exclusions"].groupby(["rule", "severity"]).size()
    return [
        {
            "name": name,
            "finds": sentences["finds"],
            "severity": severity,
            "count": found[name, severity].to_dict(),
            "excluded": int(excluded.get((name, severity), 0)),
        }
        for (name, sentences), severity in itertools.product(RULES.items(), SEVERITIES)
        if (name, severity) in found.index.droplevel("source")
    ]


def claims_by_outcome(tests: pd.DataFrame) -> list[dict]:
    """Per claim and data: how many comparisons have each of ``OUTCOMES``."""
    found: dict[str, dict] = {}
    for (claim, says, stated, data), rows in tests.groupby(_CLAIM, sort=False):
        about = found.setdefault(claim, {"id": claim, "says": says, "stated": stated, "data": {}})
        about["data"][data] = _tally(rows)
    return list(found.values())


def _comparisons(tests: pd.DataFrame, *which: str) -> pd.DataFrame:
    """Comparisons by claim, data, method on the right and place, as far as they are given."""
    return select(tests, **dict(zip(("claim", "data", "right", "place"), which, strict=False)))


def _ablations(tests: pd.DataFrame) -> pd.DataFrame:
    """The cleaned comparisons with a variant of a method that have an interval."""
    rows = select(tests, data=CLEANED)
    rows = rows[rows["verdict"] != "no valid data"]
    return rows[(rows["left"] + rows["right"]).str.contains("/")]


def _tally(tests: pd.DataFrame) -> dict:
    """How comparisons end."""
    counts = {outcome: int((tests["outcome"] == outcome).sum()) for outcome in OUTCOMES}
    return {**counts, "with_data": len(tests) - counts["no valid data"]}


def _excluded(exclusions: pd.DataFrame, source: str) -> dict:
    """How many curves of a source are left out whole, and how many because they are no tests."""
    rows = select(exclusions, source=source)
    rows = rows[rows["rule"] != "reused"]
    whole = rows[rows["first_row"].isna()]
    no_tests = whole[whole["rule"].isin(("not_test", "not_test_kin", "training_tag"))]
    return {
        "curves": len(whole[["file", "column"]].drop_duplicates()),
        "no_tests": len(no_tests[["file", "column"]].drop_duplicates()),
        "algorithms": sorted(set(rows["algorithm"]), key=labels.order),
    }


def _gone(final: pd.DataFrame, source: str) -> list[str]:
    """Methods of which no valid run is left on a map."""
    rows = select(final, source=source, variant=DEFAULT)
    valid = rows[rows["n"] > 0].set_index("data")[["map", "algorithm"]]
    had, has = (set(valid.loc[[d]].itertuples(index=False)) for d in (AS_RELEASED, CLEANED))
    lost = sorted(had - has, key=lambda cell: (labels.map_order(cell[0]), labels.order(cell[1])))
    return [f"{labels.label(algorithm)} on {map}" for map, algorithm in lost]


def _offsets(offsets: pd.DataFrame, source: str) -> dict:
    """On which maps methods, or runs of one method, began to count elsewhere."""
    rows = select(offsets, source=source, metric="win_rate", panel=DEFAULT)
    by_map = {
        map: part.groupby("method")["offset"].agg(list).to_dict()
        for map, part in rows.groupby("map", sort=True)
    }
    return {
        "maps": len(by_map),
        "least": rows[rows["method"] != "qmix"]["offset"].min(),
        "mixed": [map for map, found in by_map.items() if len(found.get("r3dm", ())) > 1],
        "unlike": [
            map
            for map, found in by_map.items()
            if {"r3dm", "acorm"} <= set(found) and found["r3dm"][0] != found["acorm"][0]
        ],
    }


def _final(final: pd.DataFrame, sources: list[str]) -> list[dict]:
    """Per map: the final win rates of the methods, drawn and cleaned, and from other releases."""
    rows = select(final, metric="win_rate", variant=DEFAULT).dropna(subset="mean")
    known = rows.set_index(["source", "map", "algorithm", "data"])[["n", "mean"]].to_dict("index")
    first, *others = sources
    ours = select(rows, source=first)
    algorithms = sorted(set(ours["algorithm"]), key=labels.order)
    return [
        {
            "map": map,
            "cells": {
                name: {data: known.get((first, map, name, data)) for data in (facts.DRAWN, CLEANED)}
                for name in algorithms
            },
            "elsewhere": {
                other: {name: known.get((other, map, name, CLEANED)) for name in algorithms}
                for other in others
            },
        }
        for map in sorted(set(ours["map"]), key=labels.map_order)
    ]


def _recovery(recovery: pd.DataFrame) -> dict:
    """How the spreads of scores by rank compare with the true ones."""
    ratios = recovery[["sd_estimated", "sd_widest"]].div(recovery["sd"], axis=0)
    return {
        "cells": len(recovery),
        "estimated": float(ratios["sd_estimated"].median()),
        "widest": float(ratios["sd_widest"].median()),
    }
