"""``python -m benchmark published``: published results from their raw files to tested claims."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmark.commands.arguments import add_output, add_study

_SHOWN = 20  #: problems that are printed; all of them are in findings.csv


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")

    def step(function: Callable[..., None], text: str) -> argparse.ArgumentParser:
        name = function.__name__.strip("_")
        found = steps.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        found.set_defaults(run=function)
        return found

    command = step(_import, "read a release into one table, and audit it")
    command.add_argument("release", type=Path, help="folder or zip with the released files")
    command.add_argument(
        "--source",
        required=True,
        help="r3dm_release, acorm_release, or a mapping file (YAML) of another release",
    )
    add_output(command, "folder (default: results/imported/SOURCE)")
    _keep(command)

    command = step(_audit, "audit an import again")
    command.add_argument("imported", type=Path, help="the folder of an import")
    _keep(command)

    command = step(_replot, "draw the paper's figures as published and cleaned")
    command.add_argument("imported", type=Path, help="the folder of an import")
    add_output(command, "folder (default: figures/ in that folder)")
    _keep(command)

    command = step(_facts, "write the facts that the repository keeps")
    command.add_argument(
        "imported",
        type=Path,
        nargs="+",
        help="folders of imports; claims are tested on the first, and on it against each other one",
    )
    add_output(command, "folder (default: %(default)s)", default=Path("results") / "published")
    _claims(command)
    _keep(command)

    command = step(_compare, "compare a study with the published facts")
    add_study(command)
    command.add_argument("--facts", type=Path, help="folder of the published facts")
    add_output(command, "folder (default: published/ of the study)")
    _claims(command)

    command = step(_conclusions, "write what a study's runs say of the claims, as Markdown")
    add_study(command)
    add_output(command, "file (default: %(default)s)", default=Path("docs") / "results.md")
    _claims(command)

    command = step(_document, "write docs/published_audit.md from the facts")
    command.add_argument("--facts", type=Path, help="folder of the published facts")
    document = Path("docs") / "published_audit.md"
    add_output(command, "file (default: %(default)s)", default=document)


def _keep(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--keep",
        action="append",
        default=[],
        metavar="RULE|FILE",
        help="keep what a rule excludes, e.g. counted_twice or '*seed3*'; may be repeated",
    )


def _claims(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--claims", type=Path, help="default: config/claims.yaml, the paper's")


def main(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    arguments.run(arguments)


def _import(arguments: argparse.Namespace) -> None:
    from benchmark.published import release, sources

    source = sources.load(arguments.source)
    imported = release.import_release(arguments.release, source)
    folder = arguments.output or Path("results") / "imported" / source.name
    release.write(imported, folder, arguments.release)
    for problem in imported.problems[:_SHOWN]:
        print(f"problem: {problem}", file=sys.stderr)
    if len(imported.problems) > _SHOWN:
        more = len(imported.problems) - _SHOWN
        print(f"and {more} more problems, see {folder / 'findings.csv'}", file=sys.stderr)
    curves = sum(file["curves"] for file in imported.files)
    print(f"{len(imported.evaluations):,} values in {curves} curves of {len(imported.files)} files")
    _write_audit(folder, arguments.keep)


def _audit(arguments: argparse.Namespace) -> None:
    _write_audit(arguments.imported, arguments.keep)


def _audits(folders: Sequence[Path], keep: Sequence[str]) -> list:
    """The audits of imports."""
    from benchmark.published import audit, release

    releases = [release.read_import(folder) for folder in folders]
    audit.check_keep(keep, releases)
    return [audit.audit(imported, keep) for imported in releases]


def _write_audit(folder: Path, keep: Sequence[str]) -> None:
    """Audits an import, writes findings and pictures into its folder, and prints how many."""
    from benchmark.published import audit, pictures

    (found,) = _audits([folder], keep)
    audit.write(found, folder)
    pictures.write(found, folder)
    counts = found.table().groupby("severity", sort=False).size()
    total = ", ".join(f"{n} {severity}s" for severity, n in counts.items()) or "nothing found"
    curves = found.release.curves
    print(f"{total}; {len(curves) - len(found.cleaned().curves)} of {len(curves)} curves excluded")
    print(folder / "findings.csv")


def _replot(arguments: argparse.Namespace) -> None:
    from benchmark.published import replot

    (found,) = _audits([arguments.imported], arguments.keep)
    output = arguments.output or arguments.imported / "figures"
    replot.write(found, output)
    print(output)


def _facts(arguments: argparse.Namespace) -> None:
    from benchmark import files
    from benchmark.analysis import figures, statistics
    from benchmark.published import claims, facts, pictures, replot

    claimed = claims.load(arguments.claims or claims.PAPER)
    audits = _audits(arguments.imported, arguments.keep)
    output = arguments.output / "figures"
    tables = facts.distil(audits, claimed)
    captions, shown = {}, claimed.shown
    picture = pictures.of_claim(tables["claims"], shown.claim, shown.right) if shown else None
    if picture:
        figures.save(picture, "claims", output, dpi=160)
        captions["claims"] = pictures.CLAIM_CAPTION
    for found in audits:
        captions |= pictures.write(found, output)
        if found.release.source.figures:
            captions |= replot.write(found, output)
    statistics.write(tables, arguments.output, facts.DECIMALS)
    files.write_json(facts.about(audits, captions), arguments.output / "sources.json")
    print(arguments.output)


def _compare(arguments: argparse.Namespace) -> None:
    from benchmark.analysis import made_from
    from benchmark.published import claims, compare, facts
    from benchmark.training.evaluations import read_evaluations
    from benchmark.training.study_folder import find

    published, about = facts.read(arguments.facts or facts.FOLDER)
    folder = find(arguments.study).folder
    digest = made_from.digest(folder)
    evaluations = read_evaluations(folder / "evaluations.parquet")
    claimed = claims.load(arguments.claims or claims.PAPER)
    found = compare.compare(evaluations, published, about, claimed)
    output = arguments.output or folder / "published"
    compare.write(found, output)
    made_from.note(digest, output)
    print(output)


def _conclusions(arguments: argparse.Namespace) -> None:
    from benchmark.published import claims, conclusions, facts
    from benchmark.training.study_folder import find

    found = find(arguments.study)
    _, about = facts.read(facts.FOLDER)
    claimed = claims.load(arguments.claims or claims.PAPER)
    conclusions.write(found.folder, found.require(), about, claimed, arguments.output)
    print(arguments.output)


def _document(arguments: argparse.Namespace) -> None:
    from benchmark.published import facts, report

    report.write(arguments.facts or facts.FOLDER, arguments.output)
    print(arguments.output)
