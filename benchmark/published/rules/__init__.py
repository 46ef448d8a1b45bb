"""The rules of the audit: each finds one kind of defect, and its docstring says why it matters."""

from collections.abc import Callable, Iterator

from benchmark.published.findings import Finding
from benchmark.published.release import Release
from benchmark.published.rules import copies, grid, kind, pairs

#: In the order in which findings are listed.
RULES: dict[str, Callable[[Release], Iterator[Finding]]] = {
    rule.__name__: rule
    for rule in (
        kind.not_test,
        kind.not_test_kin,
        kind.training_tag,
        kind.out_of_range,
        copies.counted_twice,
        copies.under_two_names,
        copies.shared_stretch,
        kind.filled,
        grid.disorder,
        grid.truncated,
        grid.number_of_runs,
        pairs.metrics_of_other_runs,
        pairs.return_scale,
        kind.aggregated_as_runs,
        grid.step_offset,
        kind.name_date,
        kind.unverifiable_label,
        kind.several_groups,
        grid.unequal_grid,
        grid.different_numbers,
        kind.test_or_training,
        copies.reused,
    )
}
