"""Which table of evaluations a folder of results was computed from.

The workflow makes everything again when the table changes; single commands do not, and would show
an older table's numbers as this one's. So the table's SHA-256 is kept with what is computed of it.
"""

from pathlib import Path

from benchmark import files
from benchmark.errors import BenchmarkError
from benchmark.training.run_record import DIGEST, read_bytes

NAME = "made_from.json"


def digest(folder: Path) -> str:
    """The SHA-256 of a study's table; taken before the table is read, it is never of a newer one.

    Raises:
        BenchmarkError: it cannot be read.
    """
    return files.sha256(read_bytes(Path(folder, "evaluations.parquet")))


def note(digest: str, output: Path) -> None:
    """Notes of which table a folder's results are; the last step of writing them."""
    files.write_sealed({DIGEST: digest}, Path(output, NAME))


def pass_on(source: Path, output: Path) -> None:
    """Notes of a folder's results that they are of the same table as those they were made from."""
    if (source / NAME).exists():
        files.write(files.read(source / NAME), output / NAME)


def check(folder: Path, part: str, command: str) -> None:
    """Refuses results of another table than the study's; results that came without it are taken.

    Args:
        folder: of the study.
        part: the folder in it with the results.
        command: that makes them.

    Raises:
        BenchmarkError: they are of another table, or nobody knows of which.
    """
    path = Path(folder, part, NAME)
    if not Path(folder, "evaluations.parquet").exists():
        return
    known = files.read_sealed(path, [DIGEST])[DIGEST] if path.exists() else None
    if known != digest(folder):
        raise BenchmarkError(
            f"{path.parent} was computed from another table than {folder}/evaluations.parquet; run"
            f" python -m benchmark {command} {folder} again"
        )
