"""Damaged files never end an import or an audit; a damaged zip never changes a number unsaid."""

import json
import zipfile

import numpy as np
import pytest

from benchmark.errors import BenchmarkError
from benchmark.published import audit, release
from benchmark.published.sources import FileRule, Source
from tests.published import releases

FORMATS = ["csv", "wandb", "npy", "json", "zip"]
NAME = r"(?P<map>3m)_(?P<algorithm>\w+?)\."
RULES = [
    {"match": NAME + "csv", "metric": "win_rate"},
    {"match": NAME + "npy", "metric": "win_rate"},
    {"match": r"\w+\.json"},
]


def source(*rules: dict) -> Source:
    """The mapping with other rules."""
    return releases.SOURCE.model_copy(update={"files": [FileRule(**rule) for rule in rules]})


SOURCE = source(*RULES)


def whole(folder, kind: str):
    """A release with one file of a format."""
    folder.mkdir()
    run = releases.run()
    steps = {"Wall time": run.wall, "Step": run.steps, "Value": run.value}
    rows = list(zip(*steps.values(), strict=True))
    text = "\n".join([",".join(steps), *(f"{w},{s},{v}" for w, s, v in rows), ""])
    if kind == "wandb":
        name = "seed1 - win_rate"
        text = f'"Step","{name}","{name}__MIN","{name}__MAX"\n'
        text += "".join(f'"{s}","{v}","{v}","{v}"\n' for _, s, v in rows)
    if kind == "npy":
        np.save(folder / "3m_qmix.npy", run.value)
    elif kind == "json":
        points = {f"at_{s}": {"step_count": int(s), "win_rate": [v]} for _, s, v in rows}
        tree = {"smac": {"3m": {"qmix": {"seed_1": points}}}}
        (folder / "a.json").write_text(json.dumps(tree))
    elif kind == "zip":
        with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("3m_qmix.csv", text)
            archive.writestr("3m_vdn.csv", text)
    else:
        (folder / "3m_qmix.csv").write_text(text)
    (path,) = folder.iterdir()
    return path


def damaged(data: bytes, stream: np.random.Generator) -> bytes:
    """The bytes with a flip, a cut, a lost or doubled range, or zeros."""
    begin, end = np.sort(stream.integers(0, len(data), 2))
    return [
        data[:begin] + bytes([data[begin] ^ (1 << stream.integers(8))]) + data[begin + 1 :],
        data[:begin],
        data[:begin] + data[end:],
        data[:end] + data[begin:],
        data[:begin] + bytes(end - begin) + data[end:],
    ][stream.integers(5)]


def numbers(found: release.Imported) -> list:
    """File, step and value of every number."""
    columns = (found.evaluations[name].to_pylist() for name in ("file", "step", "value"))
    return list(zip(*columns, strict=True))


def damage(tmp_path, kind: str, count: int) -> None:
    """Imports and audits as many damaged copies."""
    path = whole(tmp_path / kind, kind)
    place = path if kind == "zip" else path.parent
    data, truth = path.read_bytes(), numbers(release.import_release(place, SOURCE))
    stream, refused = np.random.default_rng(0), []
    for number in range(count):
        path.write_bytes(damaged(data, stream))
        try:
            found = release.import_release(place, SOURCE)
        except BenchmarkError as error:
            refused.append(str(error))
            continue
        assert kind != "zip" or found.problems or set(numbers(found)) <= set(truth), number
        curves = release.curves(found.evaluations.to_pandas(integer_object_nulls=True))
        assert audit.audit(release.Release(SOURCE, curves, {}, found.problems)).table() is not None
    assert not any("\n" in message for message in refused)


@pytest.mark.parametrize("kind", FORMATS)
def test_damaged_files(tmp_path, kind):
    damage(tmp_path, kind, 40)


@pytest.mark.slow
@pytest.mark.parametrize("kind", FORMATS)
def test_many_damaged_files(tmp_path, kind):
    damage(tmp_path, kind, 1000)


def test_an_expression_that_never_ends_is_one_line(tmp_path):
    (tmp_path / ("a" * 40 + ".csv")).write_text("Step,Value\n0,1\n")
    endless = source({"match": r"(?P<map>(?:a+)+)b\.csv", "algorithm": "qmix"})
    with pytest.raises(BenchmarkError, match="simplify"):
        release.import_release(tmp_path, endless)


def test_large_seeds_are_exact_next_to_unknown_ones(tmp_path):
    for name in ("3m_qmix_9007199254740993.npy", "3m_qmix_x.npy"):
        np.save(tmp_path / name, releases.run().value)
    match = r"(?P<map>3m)_(?P<algorithm>qmix)_(?:(?P<seed>\d+)|x)\.npy"
    seeded = source({"match": match, "metric": "win_rate"})
    release.write(release.import_release(tmp_path, seeded), tmp_path / "out", tmp_path)
    seeds = {curve.seed for curve in release.read_import(tmp_path / "out").curves}
    assert seeds == {9007199254740993, None}
