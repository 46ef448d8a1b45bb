"""From one table of evaluations to statistics, tables, figures and the report."""
