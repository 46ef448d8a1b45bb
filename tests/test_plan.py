"""What ``plan`` measures and how it adds up."""

import re

import pytest
import yaml

from benchmark import plan
from benchmark.cli import main
from benchmark.config import resolve_run
from benchmark.envs import spec_of
from benchmark.replay import ReplayBuffer

STUDY = {
    "version": 1,
    "name": "made_up",
    "backend": "simulator",
    "protocol": "unified",
    "seeds": [0, 1, 2],
    "maps": ["3m", "8m"],
    "algorithms": ["qmix"],
    "set": {"budget": 500_000, "batch_size": 4, "replay_episodes": 16, "evaluation_episodes": 2},
}


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(STUDY))
    return str(path)


def test_measures_before_there_are_results(study, capsys, tmp_path):
    assert main(["plan", study, "--cores", "2"]) == 0
    text = capsys.readouterr().out
    assert "6 runs, 3,000,000 env steps" in text
    assert re.search(r"3m +qmix +3 +500,000 +[\d,]+ +\S+ \w+ +\d", text)
    assert [path.name for path in tmp_path.iterdir()] == ["study.yaml"]


def test_costs_follow_the_budget():
    short, long = (
        plan.measure(
            resolve_run(
                map="3m",
                algorithm="qmix",
                seed=0,
                overrides=[STUDY["set"] | {"budget": budget, "battles": 2}],
            ),
            seconds=0.2,
        )
        for budget in (100_000, 10_000_000)
    )
    assert 20 < long.seconds / short.seconds < 500  # 100, but measured shortly
    assert long.results > short.results + 1000 * 2 * 8  # its table has 2000 evaluation rows more
    assert short.memory > 50e6
    assert short.device_memory == 0 or short.device_memory > 1e6


def test_totals(study, capsys, monkeypatch):
    """Known costs: two maps, one of which takes three times as long."""
    hours = {"3m": 1, "8m": 3}

    def measure_all(runs, side_by_side):
        for run in runs:
            yield run, plan.Cost(3600.0 * hours[run.map], 2e9, 0.0, 1e6, 5e9)

    monkeypatch.setattr(plan, "measure_all", measure_all)
    assert main(["plan", study, "--cores", "2"]) == 0
    text = capsys.readouterr().out
    assert "12.0 run hours" in text  # 3 seeds x (1 h + 3 h)
    assert "about 6.0 h with 2 runs at a time" in text
    assert "up to 4.0 GB with 2 runs" in text
    assert "6 MB of results, and up to 10.0 GB of checkpoints" in text
    assert main(["plan", study, "--cores", "100"]) == 0
    assert "about 3.0 h with 6 runs at a time" in capsys.readouterr().out  # the longest run


def test_what_a_step_takes_in_the_replay_buffer():
    spec = spec_of("3m")
    arrays = ReplayBuffer(spec, 1)._data.values()
    one_more = spec.episode_limit + 1  # the last observation has no action
    per_step = sum(each[0].nbytes / each.shape[1] for each in arrays)
    assert plan._step_bytes(spec) == pytest.approx(per_step, abs=per_step / one_more)


def test_cores_must_be_positive(study, capsys):
    assert main(["plan", study, "--cores", "0"]) == 2
    assert "--cores 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("count", "text"),
    [(999, "1 kB"), (12e6, "12 MB"), (3.44e9, "3.4 GB")],
)
def test_sizes(count, text):
    assert plan.size(count) == text
