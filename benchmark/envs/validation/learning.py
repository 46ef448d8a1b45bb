"""Learning curves of QMIX in the simulator compared with public runs on the real game.

The public runs are those of ``learning_curves.csv.gz`` (SMAC; PyMARL's settings, difficulty 7) and
of SMACv2's authors. Their means per 50,000 env steps are part of the repository, so that this
comparison needs no evidence. Ours are the runs of ``config/validity.yaml``, or of any study with
QMIX; maps without a finished run are named.
"""

from pathlib import Path

import numpy as np

from benchmark import files
from benchmark.envs.validation.evidence import FACTS
from benchmark.errors import BenchmarkError

BIN = 50_000  #: env steps that a point of a curve averages
FINAL = 200_000  #: env steps before the end of the budget that the final win rate averages
LONGEST = 2_000_000  #: env steps of our longest runs
CURVES = "learning_curves.csv"


def real_curves(evidence):
    """Mean win rates of public QMIX runs, and where they come from.

    Returns:
        two DataFrames, from the evidence or else from the repository: map, step (start of the bin),
        runs, win, low, high (10 % and 90 % quantiles over runs); and map, source, runs.
    """
    import pandas as pd

    smac, smacv2 = (
        evidence.table(name) for name in ("learning_curves.csv.gz", "smacv2_learning_curves.csv")
    )
    if smac is None or smacv2 is None:
        return pd.read_csv(FACTS / CURVES), pd.read_csv(FACTS / "learning_sources.csv")
    smac = smac[smac["alg"] == "qmix"].assign(run=smac["repo"] + smac["path"])
    smac = smac.rename(columns={"battle_won": "won", "repo": "source"})
    smacv2 = smacv2[smacv2["alg"] == "QMIX"].assign(source="oxwhirl/smacv2")
    smacv2 = smacv2.rename(columns={"test_win": "won", "seed": "run"})
    names = ["map", "source", "run", "step", "won"]
    runs = pd.concat([smac[names], smacv2[names]], ignore_index=True)
    runs = runs[runs.groupby(["map", "run"])["step"].transform("max") >= BIN]  # not stopped at once
    sources = runs.groupby(["map", "source"])["run"].nunique().rename("runs").reset_index()
    runs = runs[runs["step"] < LONGEST].assign(step=runs["step"] // BIN * BIN)
    won = runs.groupby(["map", "step", "run"])["won"].mean().groupby(["map", "step"])
    curves = pd.DataFrame(
        {"runs": won.size(), "win": won.mean(), "low": won.quantile(0.1), "high": won.quantile(0.9)}
    )
    return curves.reset_index(), sources


def our_curves(folder: Path):
    """Mean win rates of a study's finished QMIX runs, columns as in ``real_curves`` (low and high:
    the range over seeds), and the versions of the simulator that they were made with.

    Raises:
        BenchmarkError: there is no run.
    """
    import pandas as pd

    whole = (folder / "evaluations.parquet").exists()
    tables = [folder] if whole else [p.parent for p in sorted(folder.glob("runs/**/run.json"))]
    if not tables:
        raise BenchmarkError(f"no finished run in {folder}")
    found = (files.parse_parquet(files.read(path / "evaluations.parquet")) for path in tables)
    table = pd.concat([part.to_pandas() for part in found])
    table = table.query("algorithm == 'qmix' and variant == 'default' and phase == 'training'")
    records = [files.read_sealed(path / ("runs.json" if whole else "run.json")) for path in tables]
    records = [run for record in records for run in record.get("runs", [record])]
    budgets = table.groupby("map")["step"].max()
    table = table.assign(step=table["step"] // BIN * BIN)
    table = table[table["step"] < table["map"].map(budgets)]  # the end belongs to no whole bin
    won = table.groupby(["map", "step", "seed"])["battle_won"].mean().groupby(["map", "step"])
    curves = pd.DataFrame(
        {"runs": won.size(), "win": won.mean(), "low": won.min(), "high": won.max()}
    )
    return curves.reset_index(), sorted({str(run["backend_version"]) for run in records})


def compare(real, folder: Path, maps: list[str]) -> dict:
    """Our runs in ``folder`` and the public ones.

    Returns:
        ``curves``: both sets of curves, with a column ``game``; ``finals``: one row per map with
        both final win rates over the same env steps; ``spearman`` over maps and ``difference``,
        mean over maps of the absolute difference, NaN below three maps; ``versions``; ``missing``:
        maps with public runs alone.
    """
    import pandas as pd
    from scipy.stats import spearmanr

    ours, versions = our_curves(folder)
    known = [name for name in maps if name in set(real["map"])]
    finals = []
    for name in known:
        here, there = ours[ours["map"] == name], real[real["map"] == name]
        if here.empty:
            continue
        end = int(here["step"].max()) + BIN
        row = {"map": name, "steps": end}
        for curve, key in ((here, "win"), (there, "real_win")):
            last = curve[(curve["step"] >= end - FINAL) & (curve["step"] < end)]
            row[key] = last["win"].mean()
            row[key.replace("win", "runs")] = last["runs"].max()
            for mark in (200_000, 500_000, 1_000_000):
                at = curve[curve["step"] == mark - BIN]["win"]
                row[f"{key}_{mark}"] = at.iloc[0] if len(at) and mark <= end else np.nan
        finals.append(row)
    table = pd.DataFrame(finals)
    enough = len(table) > 2
    return {
        "curves": pd.concat([ours.assign(game=False), real.assign(game=True)]),
        "finals": finals, "versions": versions,
        "spearman": spearmanr(table["win"], table["real_win"])[0] if enough else np.nan,
        "difference": (table["win"] - table["real_win"]).abs().mean() if enough else np.nan,
        "missing": [name for name in known if name not in set(ours["map"])],
    }  # fmt: skip
