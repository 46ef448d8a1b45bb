"""Random streams: apart, spawned from the seed, continued from where they were."""

import numpy as np

from benchmark.training.seeding import PURPOSES, RandomStreams


def test_streams_are_the_children_of_the_seed_in_their_order():
    """As NumPy spawns them: the order is part of what a seed means."""
    streams = RandomStreams(7)
    order = ["battles", "exploration", "replay", "learner", "evaluation", "further_replay"]
    assert list(PURPOSES) == order
    for place, purpose in enumerate(order):
        child = np.random.default_rng(np.random.SeedSequence(7, spawn_key=(place,)))
        assert streams[purpose].random(3).tolist() == child.random(3).tolist()


def test_a_stream_does_not_move_with_the_others_and_continues_where_it_was():
    one, other = RandomStreams(7), RandomStreams(7)
    other.seeds("battles", 100)
    assert one.seeds("evaluation", 4).tolist() == other.seeds("evaluation", 4).tolist()
    position = one.state()
    expected = [one[purpose].random() for purpose in PURPOSES]
    other.restore(position)
    assert [other[purpose].random() for purpose in PURPOSES] == expected
