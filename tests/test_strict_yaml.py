"""YAML: what is valid is read, whatever the locale; every mistake is one line."""

import os
import random
import re
import subprocess
import sys

import pytest
import yaml

from benchmark import files, strict_yaml
from benchmark.commands import main
from benchmark.errors import BenchmarkError
from benchmark.training.study import parse_study
from tests.training.small import STUDY


def test_merged_keys_may_be_overridden_and_merged_again():
    text = """
    short: &short {budget: 2000, n_envs: 4}
    longer: &longer
      <<: *short
      budget: 4000
    both:
      <<: [*longer, *short]
      batch_size: 8
    """
    found = strict_yaml.parse(text, "study")
    assert found["longer"] == {"budget": 4000, "n_envs": 4}
    assert found["both"] == {"budget": 4000, "n_envs": 4, "batch_size": 8}


def test_dates_stay_text():
    assert strict_yaml.parse("[2024-01-01, 2024-13-45]", "") == ["2024-01-01", "2024-13-45"]


def test_the_largest_seed():
    assert strict_yaml.parse(f"seeds: [{2**63 - 1}, -3, 0x1f]", "")["seeds"] == [2**63 - 1, -3, 31]


#: Nine lists, of nine aliases of the one before each: a billion values.
ALIASES = "\n".join(f"- &a{n} [{', '.join([f'*a{n - 1}' if n else 'x'] * 9)}]" for n in range(10))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb:\n  c: 1\n  c: 2", "not valid YAML (the key 'c' stands there twice, line 4)"),
        ("{<<: &a {x: 1}, <<: *a}", "the key '<<' stands there twice"),
        ("9" * 5000, "an integer of more than 64 bits"),
        ("0x" + "f" * 5000, "an integer of more than 64 bits"),
        ("[" * 3000, "nested too deeply"),
        ("{a: " * 3000, "nested too deeply"),
        ("&a [*a]", "nested too deeply"),
        (ALIASES, "its aliases stand for too many values"),
        (r'"a\0b"', "a control character"),
        (r'{"a\0b": 1}', "a control character"),
        (r'"\e[2J"', "a control character"),
        ("a\0b", "special characters are not allowed"),
        (b"name: \xff", "invalid start byte"),
        ('!!int ""', "a tag on another value"),
        ("!!timestamp today", "a tag on another value"),
        ("!!python/name:os.system", "could not determine a constructor"),
        ("[1, 2]: 3", "found unhashable key"),
        ("a: [1", "expected"),
    ],
    ids=lambda value: "" if len(value) > 60 else None,
)
def test_mistakes_are_one_line(text, words):
    with pytest.raises(BenchmarkError) as error:
        strict_yaml.parse(text, "study.yaml")
    assert words in str(error.value)
    assert str(error.value).startswith("study.yaml")
    assert "\n" not in str(error.value)


#: What damaged studies get: tags on other values, signs of YAML, no text.
PARTS = ["&a ", "*a", "<<: ", "!!int ", "!!omap [a: 1]", "!!set {a}", "!!float ''", "? ", "[", "|"]
PARTS += ["%YAML 9.9\n", "---\n", "\0", "\t", "0b_", "1:2:3", "=", '"\\ud800"', "!<x> ", "'", "@"]


def test_damaged_studies_are_one_line():
    stream = random.Random(0)
    whole = (files.ROOT / "config" / "smoke.yaml").read_bytes()[:600]
    refused = 0
    for _ in range(300):
        study = bytearray(whole)
        for _ in range(stream.randrange(1, 4)):
            at = stream.choice([found.end() for found in re.finditer(rb"(?m): |^ *", study)])
            lost = stream.choice([0, 0, 1, 20])
            put = stream.choice([stream.choice(PARTS).encode(), stream.randbytes(1), b""])
            study[at : at + lost] = put
        try:
            strict_yaml.parse(bytes(study), "study")
        except BenchmarkError as error:
            refused += 1
            assert "\n" not in str(error)  # noqa: PT017, many are valid
    assert refused > 100


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 3000, r'"\0"', "2024-13-45", "x" * 5000])
def test_values_of_set(value, capsys):
    run = ["train", "--map", "3m", "--algorithm", "qmix", "--show", "--set"]
    assert main([*run, f"learning_rate={value}"]) == 2
    error = capsys.readouterr().err
    assert "learning_rate" in error
    assert error.count("\n") == 1
    assert len(error) < 400


def test_values_that_other_parsers_let_through():
    """Snakemake's --config hands over what its own YAML gives."""
    for change in ({"version": 1 << 20_000}, {"seeds": [1 << 20_000]}, {"maps": ["x" * 5000]}):
        with pytest.raises(BenchmarkError) as error:
            parse_study(STUDY | change, "study")
        assert len(str(error.value)) < 400


def test_a_study_in_utf8_is_read_in_any_locale(tmp_path):
    text = f"# étude de Zürich, 中文\n{yaml.safe_dump(STUDY)}"
    (tmp_path / "study.yaml").write_bytes(text.encode())
    ascii = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "benchmark", "status", "study.yaml", "--json"],
        **{"cwd": tmp_path, "env": os.environ | ascii, "capture_output": True, "text": True},
    )
    assert done.returncode == 0, done.stderr
    assert '"study": "made_up"' in done.stdout
