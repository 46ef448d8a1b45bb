"""A made-up study at full size: every run of a study file, with logs, statistics and all figures.

The numbers mean nothing; they are for looking at the report and the figures as a whole study fills
them, and for measuring how large and how fast the report is:

    python -m tests.analysis.full_study /tmp/made_up            all runs of config/paper.yaml
    python -m tests.analysis.full_study /tmp/made_up smoke      another study file
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from benchmark import files
from benchmark.analysis import ablations, figures, made_from, report, statistics, tables
from benchmark.published import claims, compare, facts
from benchmark.published.report import section
from benchmark.training.evaluations import write_evaluations
from benchmark.training.run_record import DIGEST
from benchmark.training.study import Study
from benchmark.training.study_folder import find
from tests.analysis import synthetic

_REPLICATIONS = 200  #: of the bootstrap: enough to look at


def make(study: Study, results: Path, replications: int = _REPLICATIONS) -> Path:
    """Makes the folder of a study up to its figures; its report is ``write_report``."""
    folder = results / study.name
    tables_of_runs, records = [], []
    for run in study.runs():
        rank = study.algorithms.index(run.algorithm) / len(study.algorithms)
        place = study.maps.index(run.map) / len(study.maps)
        table = synthetic.run(
            run.map,
            run.algorithm,
            run.seed,
            skill=0.95 - 0.6 * rank - 0.3 * place,
            budget=run.training.budget,
            interval=run.training.evaluation_interval,
            variant=run.variant,
            backend=run.backend,
            protocol=run.protocol,
            study=study.name,
        )
        (record,) = synthetic.provenance(table, config=run.resolved(), config_hash=run.hash)
        _write_log(results / run.path, table)
        tables_of_runs.append(table)
        records.append(record)
    evaluations = pd.concat(tables_of_runs, ignore_index=True)
    digest = write_evaluations(evaluations, folder / "evaluations.parquet")
    summary = {"runs": records, "missing": [], "changed": [], "broken": []}
    summary[DIGEST] = digest
    files.write_sealed(summary, folder / "runs.json")
    found = statistics.compute(evaluations, replications=replications)
    statistics.write(found, folder / "statistics")
    tables.write(tables.make(found), folder / "tables")
    figures.write(found, folder / "figures")
    ablations.write(found, study.ablations, folder)
    published, about = facts.read()
    claimed = claims.load(claims.PAPER)
    compared = compare.compare(evaluations, published, about, claimed)
    compare.write(compared, folder / "published")
    for part in ("statistics", "published", "figures"):
        made_from.note(digest, folder / part)
    return folder


def _write_log(folder: Path, table: pd.DataFrame) -> None:
    """A log as training writes it."""
    points = table.groupby("step")[["battle_won", "return", "length"]].mean()
    lines = [
        f"2026-01-01T00:00:00+00:00 step {step} win_rate {row['battle_won']:.3f} return"
        f" {row['return']:.2f} length {row['length']:.1f} steps/s 555"
        f" loss {np.exp(-step / 1e6):.4g} grad_norm 1.234 q_tot 5.678"
        for step, row in points.iterrows()
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.log").write_text("\n".join(lines) + "\n")


def write_report(study: Study, folder: Path) -> Path:
    """Writes the report of a study that ``make`` made."""
    output = folder / "report.html"
    report.write(folder, output, section, study)
    return output


def main() -> None:
    """Makes the study and its report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("study", nargs="?", default="config/paper.yaml")
    arguments = parser.parse_args()
    study = find(arguments.study).require()
    print(write_report(study, make(study, arguments.results)))


if __name__ == "__main__":
    main()
