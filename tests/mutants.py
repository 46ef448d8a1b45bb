"""Mutation testing of one module: ``make mutants MODULE=benchmark/training/rollout.py``.

A mutant is the module with one small fault: another operator, number or comparison, a condition
turned round, a statement left out. The tests that concern the module (mutants.toml) run on it, in a
copy of the tree below build/mutants. A mutant that no test notices has survived: it shows what the
tests do not hold. Cosmic Ray makes the mutants but for the left-out statements, which are ours.
"""

import argparse
import ast
import difflib
import gc
import importlib
import multiprocessing
import os
import random
import re
import runpy
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections import defaultdict
from pathlib import Path

import parso
import pytest
from cosmic_ray.commands.init import init
from cosmic_ray.mutating import use_mutation
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import OPERATOR_PROVIDERS, get_operator
from cosmic_ray.work_db import use_db

ROOT = Path(__file__).parent.parent
WORK = ROOT / "build" / "mutants"
#: Imported once, before the forks: torch._dynamo, which the first optimiser imports, takes 4 s.
LIBRARIES = [
    *("hypothesis", "matplotlib.pyplot", "numba", "pandas", "pyarrow.parquet", "pydantic"),
    *("rliable.library", "scipy.stats", "sklearn.cluster", "torch._dynamo"),
]


class LeaveOut(Operator):
    """Leaves out a statement that no later line needs in order to run.

    These are calls, augmented assignments, assignments to attributes and items, and those to a name
    that has a value before.
    """

    def mutation_positions(self, node):
        if node.type == "simple_stmt" and self._optional(node.children[0]):
            yield node.children[0].start_pos, node.children[0].end_pos

    def mutate(self, node, index):
        nothing = parso.parse("pass").children[0]
        nothing.prefix = node.get_first_leaf().prefix  # the indentation
        node.children[0] = nothing
        return node

    @classmethod
    def examples(cls):
        return ()

    @staticmethod
    def _optional(statement):
        function = parso.tree.search_ancestor(statement, "funcdef")
        if function is None:
            return False
        if statement.type in ("atom_expr", "power"):
            return True
        if statement.type != "expr_stmt" or statement.children[1].type == "annassign":
            return False
        names = statement.get_defined_names()
        augmented = statement.children[1] != "="
        if augmented or not names:
            return True
        earlier = {
            name.value for name in _defined(function) if name.start_pos < statement.start_pos
        }
        return all(name.value in earlier for name in names)


def _defined(node):
    """Names that the statements below a node of the syntax tree assign; parameters too."""
    if node.type in ("expr_stmt", "param", "for_stmt"):
        yield from ([node.name] if node.type == "param" else node.get_defined_names())
    for child in getattr(node, "children", ()):
        yield from _defined(child)


def copy_tree(to: Path) -> None:
    """The checkout's files that git knows or would add, without those that it ignores."""
    shutil.rmtree(to, ignore_errors=True)
    command = ["git", "ls-files", "-z", "-co", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)


def annotations(path: Path) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Start and end, (line, column), of the types in a file's signatures."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        for part in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if part is not None:
                start = (part.lineno, part.col_offset)
                found.append((start, (part.end_lineno, part.end_col_offset)))
    return found


def mutations(module: Path, sample: int, seed: int, interpreted: bool = False) -> list:
    """Mutations of a module, drawn at random: first one of every place, then a second one, ...

    Args:
        sample: how many at most; 0 for all.
        interpreted: leaves decorators alone, which only compile.
    """
    OPERATOR_PROVIDERS["own"] = {"LeaveOut": LeaveOut}
    with use_db(":memory:") as session:
        init([module], session, {})
        found = [item.mutations[0] for item in session.work_items]
    types = annotations(module)
    places = defaultdict(list)
    for one in found:
        # "is" for "==" is a matter of style: the same for small numbers and literal strings.
        if one.operator_name.endswith(("_Eq_Is", "_NotEq_IsNot")):
            continue
        if interpreted and one.operator_name == "core/RemoveDecorator":
            continue
        if not any(start <= one.start_pos < end for start, end in types):
            places[one.start_pos].append(one)
    rng = random.Random(seed)
    ranked = []
    for place in sorted(places):
        at_place = sorted(places[place], key=lambda one: (one.operator_name, one.occurrence))
        rng.shuffle(at_place)
        ranked += [(rank, rng.random(), one) for rank, one in enumerate(at_place)]
    chosen = [one for _, _, one in sorted(ranked, key=lambda entry: entry[:2])]
    return chosen[: sample or None]


def passes(tests: list[str], limit: float, quiet: bool = True) -> bool:
    """Whether the tests pass within ``limit`` seconds, in a fork that has the libraries."""
    child = multiprocessing.get_context("fork").Process(target=_run, args=(tests, quiet))
    child.start()
    child.join(limit)
    if child.is_alive():
        os.killpg(child.pid, signal.SIGKILL)
        child.join()
    return child.exitcode == 0


def _run(tests: list[str], quiet: bool) -> None:
    os.setsid()  # so that what the tests start ends with them
    if quiet:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
    marks = "not slow and not gpu and not slurm and not protocol and not clients"
    os._exit(pytest.main(["-x", "-p", "no:cacheprovider", "-m", marks, *tests]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("module", help="a file that mutants.toml lists")
    parser.add_argument("--sample", type=int, default=40, help="mutants to try, 0 for all")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument(
        "--again", action="store_true", help="try only the survivors of the report, with new tests"
    )
    arguments = parser.parse_args()
    modules = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())
    if arguments.module not in modules:
        sys.exit(
            f"error: tests/mutants.toml lists no {arguments.module}; it lists {', '.join(modules)}"
        )
    concern = modules[arguments.module]

    name = arguments.module.removesuffix(".py").replace("/", ".")
    tree, report = WORK / name, WORK / f"{name}.txt"
    copy_tree(tree)
    os.chdir(tree)
    sys.path[0] = str(tree)
    sys.dont_write_bytecode = True  # two mutants of one second would pass for the same file
    os.environ["NUMBA_CACHE_DIR"] = str(WORK / f"{name}.numba")
    interpreted = concern.get("interpreted", False)
    if interpreted:
        os.environ["NUMBA_DISABLE_JIT"] = "1"
    runpy.run_path("tests/conftest.py")  # settings for torch, which is imported once, here
    for library in LIBRARIES:
        importlib.import_module(library)
    gc.freeze()  # the forks need not look through what the libraries made

    started = time.monotonic()
    if not passes(concern["tests"], 1800, quiet=False):
        sys.exit("error: the tests fail without any mutant")
    limit = 30 + 5 * (time.monotonic() - started)
    module = Path(arguments.module)
    chosen = mutations(module, arguments.sample, arguments.seed, interpreted)
    trying = set(range(1, len(chosen) + 1))
    if arguments.again:
        found = re.findall(r"^--- mutant (\d+)", report.read_text(), re.MULTILINE)
        trying = set(map(int, found))
    survivors = []
    for number, one in enumerate(chosen, 1):
        operator = get_operator(one.operator_name)(**one.operator_args)
        with use_mutation(module, operator, one.occurrence) as (code, mutated):
            if number in trying and passes(concern["tests"], limit):
                lines = [text.splitlines() for text in (code, mutated)]
                diff = difflib.unified_diff(*lines, f"mutant {number}", name, n=2, lineterm="")
                survivors.append("\n".join(diff))
        counts = f"{number} of {len(chosen)} mutants tried, {number - len(survivors)} killed"
        report.write_text("\n".join([f"{module}: {counts}", "", *survivors, ""]))
    print(report.read_text(), end="")
    shutil.rmtree(tree)


if __name__ == "__main__":
    main()
