"""Where the evidence of the real game is, and what it holds.

The recordings and the policies are other people's and are not part of this repository; they are
read from a folder (``--evidence``) such as ``python -m benchmark record`` writes. What is absent is
skipped, with the reason.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmark.errors import BenchmarkError
from benchmark.files import ROOT

#: Where the evidence is in the place where this project is developed.
DEFAULT = ROOT.parent / "shared" / "real"
#: Aggregates of the evidence and of the comparison with it: part of the repository.
FACTS = ROOT / "results" / "real"

GAME, TESTS = "starcraft2", ("simulator", "standin")
#: The tables of a folder, and the column that says where their rows come from.
_SOURCES = {
    "random_play.csv": "condition", "policies.csv": "repository", "*_transitions.csv": "backend",
}  # fmt: skip


def read_table(path: Path):
    """A CSV as a DataFrame.

    Raises:
        BenchmarkError: it is damaged.
    """
    import pandas as pd

    try:
        return pd.read_csv(path)
    except ValueError as error:  # pandas' own are among them
        raise BenchmarkError(f"{path} is no table: {error}") from error


def interval(values) -> float:
    """Half of the 95 % interval of a mean."""
    return 1.96 * float(values.std()) / len(values) ** 0.5


@dataclass(frozen=True)
class Evidence:
    """A folder of recordings; a folder that does not exist has none."""

    folder: Path

    def table(self, name: str):
        """A CSV as a DataFrame, or ``None`` where the file is absent."""
        path = self.folder / name
        return read_table(path) if path.exists() else None

    @property
    def backends(self) -> set[str]:
        """What was recorded: rows of ``record`` begin with the backend; others are of the game."""
        found = set()
        for pattern, column in _SOURCES.items():
            for path in self.folder.glob(pattern):
                table = read_table(path)
                names = table[column] if column in table else [GAME] * bool(len(table))
                first = {str(name).partition(" ")[0] for name in names}
                found |= {name if name in TESTS else GAME for name in first}
        return found

    @cached_property
    def policies(self):
        """Policies whose file is there, as rows of ``policies.csv`` with their ``path``."""
        table = self.table("policies.csv")
        if table is None:
            return None
        table = table.assign(path=[self.folder / "policies" / name for name in table["file"]])
        return table[[path.exists() for path in table["path"]]].reset_index(drop=True)
