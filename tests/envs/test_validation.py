"""The comparison with the real game; recordings and foreign policies are not in the repository."""

import os
from pathlib import Path

import numpy as np
import pytest

from benchmark.commands import main
from benchmark.envs.validation import policies, random_play, transitions
from benchmark.envs.validation.evidence import DEFAULT, Evidence

FOLDER = Path(os.environ.get("EVIDENCE", DEFAULT))
needs_evidence = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"no recordings of the real game in {FOLDER}"
)


def weights(inputs, hidden, actions):
    random = np.random.default_rng(0)
    shapes = {
        "fc1.weight": (hidden, inputs), "fc1.bias": (hidden,),
        "rnn.weight_ih": (3 * hidden, hidden), "rnn.weight_hh": (3 * hidden, hidden),
        "rnn.bias_ih": (3 * hidden,), "rnn.bias_hh": (3 * hidden,),
        "fc2.weight": (actions, hidden), "fc2.bias": (actions,),
    }  # fmt: skip
    return {f"agent.{k}": random.normal(size=v).astype(np.float32) for k, v in shapes.items()}


def test_a_policy_computes_what_torch_computes():
    import torch

    b, n, o, a, h = 4, 3, 10, 7, 8
    arrays = weights(o + a + n, h, a)
    policy = policies.RecurrentPolicy(arrays, "rnn")
    policy.begin(np.zeros((b, 5), np.float32), n, a)
    cell = torch.nn.GRUCell(h, h)
    for name, value in arrays.items():
        if "rnn" in name:
            getattr(cell, name.removeprefix("agent.rnn.")).data = torch.from_numpy(value)
    random = np.random.default_rng(1)
    hidden, last = torch.zeros(b * n, h), np.zeros((b, n, a), np.float32)
    for _ in range(5):
        obs = random.normal(size=(b, n, o)).astype(np.float32)
        available = random.random((b, n, a)) < 0.6
        available[..., 0] = True
        agents = np.broadcast_to(np.eye(n, dtype=np.float32), (b, n, n))
        x = torch.from_numpy(np.concatenate([obs, last, agents], 2).reshape(b * n, -1))
        first = torch.from_numpy(arrays["agent.fc1.weight"])
        x = torch.relu(x @ first.T + torch.from_numpy(arrays["agent.fc1.bias"]))
        hidden = cell(x, hidden)
        values = hidden @ torch.from_numpy(arrays["agent.fc2.weight"]).T
        values = (values.detach().numpy() + arrays["agent.fc2.bias"]).reshape(b, n, a)
        expected = np.where(available, values, -np.inf).argmax(2)
        np.testing.assert_array_equal(policy.act(obs, available), expected)
        last = np.eye(a, dtype=np.float32)[expected]


def test_an_absent_folder_is_explained(tmp_path, capsys):
    assert main(["validate", "--evidence", str(tmp_path / "nowhere")]) == 2
    assert "--evidence names the folder" in capsys.readouterr().err


def test_absent_files_are_skipped_with_a_reason(tmp_path, capsys):
    assert main(["validate", "--evidence", str(tmp_path), "--maps", "3m"]) == 0
    out = capsys.readouterr().out
    for name in ("policies.csv", "random_play.csv", "3m_transitions.csv"):
        assert f"no {name} in {tmp_path}" in out


@needs_evidence
def test_policies_win_about_as_often_as_in_the_game():
    """The bound of this commit, not the goal; see docs."""
    rows = policies.compare(Evidence(FOLDER), ["2s3z", "3s5z_vs_3s6z", "corridor"], 128)
    assert np.mean(list(policies.difference(rows).values())) < 0.12


@needs_evidence
def test_near_random_battles_are_about_as_long_as_in_the_game():
    for row in random_play.compare(Evidence(FOLDER), ["8m", "2s3z", "3s5z", "MMM2", "6h_vs_8z"]):
        error = row["length_interval"] + row["real_length_interval"]
        assert abs(row["length"] - row["real_length"]) < 1.5 * error, row["map"]


@needs_evidence
def test_recorded_steps_are_predicted():
    result = transitions.compare(Evidence(FOLDER).table("3m_transitions.csv"), 64, 60)
    assert result["losses"] > 0.5
    assert result["shots"] > 0.95
    assert result["position"] < 0.04
