"""Finding a study by its file or its name."""

from pathlib import Path

from benchmark.config import Study, known, load_study, load_yaml

FOLDER = Path("config")


def find_study(text: str) -> Study:
    """The study of that file, or of that name in ``config/``.

    Args:
        text: e.g. ``config/paper.yaml`` or ``paper``.

    Raises:
        BenchmarkError: there is none (the known names are listed), or its file has a mistake.
    """
    if text.endswith((".yaml", ".yml")) or Path(text).is_file():
        return load_study(text)
    # Not everything there is a study: claims have no name.
    files = {name: path for path in sorted(FOLDER.glob("*.yaml")) if (name := _name(path))}
    known("study", text, files, str(FOLDER))
    return load_study(files[text])


def _name(path: Path) -> str | None:
    values = load_yaml(path)
    return values.get("name") if isinstance(values, dict) else path.stem
