"""``python -m benchmark published``: published results from their raw files to verdicts."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmark import files
from benchmark.analysis import figures
from benchmark.analysis.bootstrap import REPLICATIONS
from benchmark.errors import BenchmarkError
from benchmark.published import (
    audit,
    claims,
    compare,
    differences,
    document,
    evidence,
    facts,
    intake,
    redraw,
    release,
    sources,
)
from benchmark.training.evaluations import read_evaluations

_SHOWN = 20  #: problems that are printed; all of them are in import.json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")
    for name, (function, text, declare) in _STEPS.items():
        step = steps.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        declare(step)
        step.set_defaults(run=function)


def main(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    if getattr(arguments, "replications", 1) < 1:
        raise BenchmarkError("--replications must be at least 1")
    arguments.run(arguments)


def _import_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("release", type=Path, help="folder, clone or zip with the released files")
    parser.add_argument(
        "--source",
        required=True,
        help=f"{', '.join(sources.built_in())}, or a mapping file (YAML) of another release",
    )
    parser.add_argument(
        "--output", "-o", type=Path, help="folder; results/imported/<source> when left out"
    )
    parser.add_argument(
        "--max-megabytes",
        type=float,
        default=intake.MEGABYTES,
        metavar="MB",
        help=f"leave larger files out (default {intake.MEGABYTES})",
    )
    _keep_arguments(parser)


def _keep_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--keep",
        action="append",
        default=[],
        metavar="RULE|FILE",
        help="put back what a rule excludes, e.g. counted_twice or '*seed3*'; may be repeated",
    )


def _import(arguments: argparse.Namespace) -> None:
    source = sources.load(arguments.source)
    imported = intake.import_release(arguments.release, source, arguments.max_megabytes)
    folder = arguments.output or Path("results") / "imported" / source.name
    intake.write(imported, folder, arguments.release)
    for problem in imported.problems[:_SHOWN]:
        print(f"left out: {problem}", file=sys.stderr)
    if len(imported.problems) > _SHOWN:
        more = len(imported.problems) - _SHOWN
        print(f"and {more} more problems, see {folder / 'import.json'}", file=sys.stderr)
    curves = int(imported.files["curves"].sum())
    print(f"{len(imported.evaluations):,} values in {curves} curves of {len(imported.files)} files")
    _audited(folder, arguments.keep)


def _audit_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("imported", type=Path, help="the folder of an import")
    _keep_arguments(parser)


def _audit(arguments: argparse.Namespace) -> None:
    _audited(arguments.imported, arguments.keep)


def _audits(folders: Sequence[Path], keep: Sequence[str]) -> list[audit.Audit]:
    """Audits imports."""
    releases = [release.of_import(intake.read_import(folder)) for folder in folders]
    audit.check_keep(keep, releases)
    return [audit.audit(each, keep) for each in releases]


def _audited(folder: Path, keep: Sequence[str]) -> None:
    """Audits an import, writes its findings and pictures beside it, and says how many there are."""
    (found,) = _audits([folder], keep)
    audit.write(found, folder)
    evidence.write(found, folder, ("png",))
    counts = found.table().groupby("severity", sort=False).size()
    total = ", ".join(f"{n} {severity}s" for severity, n in counts.items()) or "nothing found"
    left = len(found.release.series) - len(found.cleaned().series)
    print(f"{total}; {left} of {len(found.release.series)} curves excluded")
    print(folder / "findings.csv")


def _redraw_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("imported", type=Path, help="the folder of an import")
    parser.add_argument("--output", "-o", type=Path, help="folder; figures/ there when left out")
    _keep_arguments(parser)


def _redraw(arguments: argparse.Namespace) -> None:
    (found,) = _audits([arguments.imported], arguments.keep)
    output = arguments.output or arguments.imported / "figures"
    redraw.write(found, output)
    print(output)


def _distil_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "imported",
        type=Path,
        nargs="+",
        help="folders of imports; claims are judged on the first, and on it against each other one",
    )
    parser.add_argument("--output", "-o", type=Path, default=Path("results") / "published")
    parser.add_argument("--claims", type=Path, default=claims.PAPER, help="file of claims")
    _replications(parser)
    _keep_arguments(parser)


def _replications(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--replications",
        type=int,
        default=REPLICATIONS,
        help=f"of the bootstrap (default {REPLICATIONS})",
    )


def _distil(arguments: argparse.Namespace) -> None:
    claimed = claims.load(arguments.claims)
    found = _audits(arguments.imported, arguments.keep)
    output = arguments.output
    tables = facts.distil(found, claimed, arguments.replications)
    pictures = {}
    shown = claimed.shown
    picture = differences.draw(tables["claims"], shown.claim, shown.right) if shown else None
    if picture:
        figures.save(picture, "claims", output / "figures", ("png",), dpi=160)
        pictures["claims"] = differences.CAPTION
    for each in found:
        pictures |= evidence.write(each, output / "figures", ("png",))
        if each.release.source.figures:
            pictures |= redraw.write(each, output / "figures", ("png",))
    facts.write(tables, output)
    files.write_json(facts.about(found, pictures), output / "sources.json")
    print(output)


def _compare_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", type=Path, help="a study's folder, with evaluations.parquet")
    parser.add_argument("--facts", type=Path, default=facts.FOLDER, help="the published facts")
    parser.add_argument("--claims", type=Path, default=claims.PAPER, help="file of claims")
    parser.add_argument("--output", "-o", type=Path, help="folder; published/ there by default")
    _replications(parser)


def _compare(arguments: argparse.Namespace) -> None:
    published, about = facts.read(arguments.facts)
    evaluations = read_evaluations(arguments.study / "evaluations.parquet")
    claimed = claims.load(arguments.claims)
    found = compare.compare(evaluations, published, about, claimed, arguments.replications)
    output = arguments.output or arguments.study / "published"
    compare.write(found, output)
    print(output)


def _document_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--facts", type=Path, default=facts.FOLDER, help="the published facts")
    parser.add_argument(
        "--output", "-o", type=Path, default=Path("docs") / "published_audit.md", help="the file"
    )


def _document(arguments: argparse.Namespace) -> None:
    document.write(arguments.facts, arguments.output)
    print(arguments.output)


#: step -> function, what it does, its options
_STEPS = {
    "import": (_import, "read a release into one table, and audit it", _import_arguments),
    "audit": (_audit, "audit an import again", _audit_arguments),
    "redraw": (_redraw, "draw the paper's figures as published and cleaned", _redraw_arguments),
    "distill": (_distil, "write the facts that the repository keeps", _distil_arguments),
    "compare": (_compare, "compare a study with the published facts", _compare_arguments),
    "document": (_document, "write docs/published_audit.md from the facts", _document_arguments),
}
