"""The rules of the audit: each finds one kind of defect, and is told nothing about where one is."""

from benchmark.published.findings import Rule
from benchmark.published.rules import copies, runs, steps, values

#: In the order in which findings are listed.
RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (
        values.unreadable,
        values.not_test,
        values.not_test_kin,
        values.training_tag,
        values.out_of_range,
        copies.counted_twice,
        copies.under_two_names,
        copies.shared_stretch,
        values.filled,
        steps.disorder,
        steps.truncated,
        steps.number_of_runs,
        runs.metrics_of_other_runs,
        values.return_scale,
        runs.aggregated_as_runs,
        steps.step_offset,
        runs.name_date,
        runs.unverifiable_label,
        runs.several_groups,
        steps.unequal_grid,
        steps.different_numbers,
        values.test_or_training,
        copies.reused,
    )
}
