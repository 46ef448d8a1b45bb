"""Finding a study by its file or its name."""

import json
from pathlib import Path

from benchmark.config import Study, known, load_study, load_yaml, parse_study
from benchmark.errors import BenchmarkError

FOLDER = Path("config")


def find_study(text: str) -> Study:
    """The study of that file, or of that name in ``config/``.

    Args:
        text: e.g. ``config/paper.yaml`` or ``paper``; or the study itself as JSON, as the workflow
            gives it, where it may have come from several files and options.

    Raises:
        BenchmarkError: there is none (the known names are listed), or it has a mistake.
    """
    if text.startswith("{"):
        try:
            return parse_study(json.loads(text), "study")
        except ValueError as error:
            raise BenchmarkError(f"study: not valid JSON ({error})") from None
    if text.endswith((".yaml", ".yml")) or Path(text).is_file():
        return load_study(text)
    # Not everything there is a study: claims have no name.
    files = {name: path for path in sorted(FOLDER.glob("*.yaml")) if (name := _name(path))}
    known("study", text, files, str(FOLDER))
    return load_study(files[text])


def _name(path: Path) -> str | None:
    values = load_yaml(path)
    return values.get("name") if isinstance(values, dict) else path.stem
