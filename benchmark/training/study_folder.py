"""Where a study is: its definition, and the folder with its results.

The workflow writes the study as it was given, with whatever options, and every run fully resolved
into ``study.json`` of that folder. Its jobs read it there, and ``status`` need not import torch,
which takes seconds: what it must resolve itself it keeps in the user's cache folder.
"""

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmark import files, strict_yaml
from benchmark.errors import BenchmarkError
from benchmark.training import provenance, run_state
from benchmark.training.config import known
from benchmark.training.study import Study, checked_runs, load_study, parse_study

CONFIG = Path("config")
RESULTS = Path("results")

_NAME = "study.json"


@dataclass(frozen=True)
class StudyFolder:
    """A study and the folder with its results, which need not exist."""

    folder: Path
    study: Study | None  #: None where nothing but results is known
    source: str = ""  #: where the study is written, for messages

    @property
    def name(self) -> str:
        """Of the study."""
        return self.study.name if self.study else self.folder.name

    @property
    def with_runs(self) -> bool:
        """False where a study came as its aggregated table."""
        return not run_state.without_runs(self.folder)

    def require(self) -> Study:
        """The study.

        Raises:
            BenchmarkError: only its results are known.
        """
        if self.study is None:
            raise BenchmarkError(f"{self.folder} holds no {_NAME}; give the study's file")
        return self.study

    @cached_property
    def runs(self) -> list[dict]:
        """Every run, resolved; where only results are known those that are there.

        Raises:
            BenchmarkError: a mistake in the settings of a run.
        """
        if self.study is None:
            return run_state.found_runs(self.folder)
        kept = files.cache_folder() / "studies" / f"{self.study.name}.json"
        about = {"study": _plain(self.study), "resolved_by": _code(self.study)}
        for path in filter(Path.exists, [self.folder / _NAME, kept]):
            found = files.read_json(path, ["study", "resolved_by", "runs"])
            if found == about | {"runs": found["runs"]}:
                return found["runs"]
        runs = [run.resolved() for run in checked_runs(self.study, self.source)]
        with suppress(BenchmarkError):  # a home that cannot be written only makes it slower
            files.write_json(about | {"runs": runs}, kept)
        return runs


def find(text: str) -> StudyFolder:
    """The study of a file, of a name in ``config/`` or ``results/``, or of a folder of results.

    Its runs are not checked yet.

    Raises:
        BenchmarkError: there is none (the known names are listed), or it has a mistake.
    """
    if text.endswith((".yaml", ".yml")) or Path(text).is_file():
        found = load_study(text, check_runs=False)
        return StudyFolder(RESULTS / found.name, found, text)
    of_config = _named_files(text)
    if text in of_config:
        path = str(of_config[text][0])
        return StudyFolder(RESULTS / text, load_study(path, check_runs=False), path)
    for folder in (RESULTS / text, Path(text)):
        if (folder / _NAME).exists():
            values = files.read_json(folder / _NAME, ["study"])["study"]
            where = str(folder / _NAME)
            return StudyFolder(folder, parse_study(values, where, check_runs=False), where)
        if folder.is_dir():
            return StudyFolder(folder, None)
    made = (_NAME, "runs", "runs.json")
    of_results = {path.parent.name for name in made for path in RESULTS.glob(f"*/{name}")}
    known("study", text, {*of_config, *of_results}, f"{CONFIG} and {RESULTS}")
    raise AssertionError("the study would have been found")


def check_name(name: str) -> None:
    """Refuses a name that several studies in ``config/`` have: they would share a folder, and each
    call the other's runs changed.

    Raises:
        BenchmarkError: names their files.
    """
    _named_files(name)


def save(study: Study, folder: Path) -> None:
    """Writes ``study.json``.

    Raises:
        BenchmarkError: the folder cannot be written.
    """
    runs = [run.resolved() for run in study.runs()]
    value = {"study": _plain(study), "resolved_by": _code(study), "runs": runs}
    files.write_json(value, folder / _NAME)


def _plain(study: Study) -> dict:
    return study.model_dump(mode="json")


def _code(study: Study) -> str:
    """Hash of all code that resolves the runs of a study."""
    names = {*study.algorithms, *(variant.algorithm for variant in study.variants)}
    parts = [provenance.source_hash(name, study.backend) for name in sorted(names)]
    own = [Path(__file__).with_name(name) for name in ("config.py", "study.py")]
    parts += [path.read_text(encoding="utf-8") for path in own]
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:16]


def _named_files(wanted: str) -> dict[str, list[Path]]:
    """The study files in ``config/`` by the name in them; one at most has the wanted name."""
    found: dict[str, list[Path]] = {}
    for file in sorted(CONFIG.glob("*.yaml")):  # not all are studies: claims have no name
        if name := _name(file, wanted):
            found.setdefault(name, []).append(file)
    if len(found.get(wanted, [])) > 1:
        named = " and ".join(map(str, found[wanted]))
        raise BenchmarkError(f"{named} have the name {wanted} alike; rename one, or give the file")
    return found


def _name(path: Path, wanted: str) -> str | None:
    """The name in a study's file; none where it cannot be read, unless it is the wanted one."""
    try:
        values = strict_yaml.load(path)
    except BenchmarkError:
        if path.stem == wanted:
            raise
        return None
    return values.get("name") if isinstance(values, dict) else path.stem
