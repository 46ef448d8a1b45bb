"""What a workflow says of its runs, and how often."""

import logging

import pytest

from benchmark import files
from benchmark.training import monitor
from benchmark.training.config import resolve_run


class Over(Exception):
    """Of the workflow."""


def test_a_run_is_shown_after_every_tenth_of_its_budget(tmp_path, monkeypatch, caplog):
    run = resolve_run(map="3m", algorithm="qmix", seed=0)
    about = {"state": "running", "budget": 1000, "steps_per_second": 2.0, "win_rate": None}
    about |= {"host": "here", "pid": 1, "updated": "now", "error": ""}
    reports = iter([0, 60, 90, 130, 190, 640, 690])

    def sleep(seconds):
        assert seconds == 60
        if (step := next(reports, None)) is None:
            raise Over
        speed = 2.0 if step else 0.0  # not known before the first round of battles
        won = 0.25 if step > 500 else None
        report = about | {"step": step, "steps_per_second": speed, "win_rate": won}
        files.write_sealed(report, tmp_path / monitor.run_path(run.identity) / "progress.json")

    monkeypatch.setattr(monitor.time, "sleep", sleep)
    monkeypatch.setattr(monitor.signal, "signal", lambda *_: None)
    monkeypatch.setattr(monitor.threading.Thread, "start", lambda thread: None)
    logger = logging.getLogger("benchmark.test")
    logger.setLevel(logging.INFO)
    with pytest.raises(Over):
        monitor.Monitor([run.resolved()], tmp_path, logger)._watch()
    assert [record.getMessage() for record in caplog.records] == [
        "qmix on 3m, seed 0, default: 6%, 8 min left, 2 env steps/s",
        "qmix on 3m, seed 0, default: 13%, 7 min left, 2 env steps/s",
        "qmix on 3m, seed 0, default: 64%, 3 min left, 2 env steps/s, won 25%",
    ]
