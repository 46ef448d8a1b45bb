"""Published results as data: read them, check them, replot them, test what is claimed from them.

The way of a number, one module per step:

* ``formats``, ``sources``, ``importer``: files of a release, and the mapping that says which file
  holds which method on which map -> one table of evaluations, each original value kept;
* ``release``: that table as curves; ``rules``, ``findings``, ``audit``: what is wrong with them;
* ``run_scores``: one score per run, also where only a group's mean and extremes were released;
* ``paper_plots``, ``replot``, ``pictures``: the paper's figures, as published and cleaned;
* ``claims``, ``intervals``, ``claim_tests``: which of the paper's claims the numbers support;
* ``facts``: what the repository keeps in ``results/published/``;
* ``compare``: our own runs compared with these facts; ``report``: ``docs/published_audit.md``.

Numbers of different backends are never put into one statistic.
"""
