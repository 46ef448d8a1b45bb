"""Published results as data: read them, check them, replot them, test what is claimed from them.

The way of a number:

* ``sources``, ``formats``, ``release``: the mapping that says which file holds which method on
  which map, and the files -> one table of evaluations, each original value kept -> curves;
* ``rules``, ``audit``: what is wrong with them (the sentences are in ``rules.yaml``);
* ``scores``: one score per run, also where only a group's mean and extremes were released;
* ``paper_plots``, ``replot``, ``pictures``: the paper's figures, as published and cleaned;
* ``claims``: which of the paper's claims the numbers support;
* ``facts``: what the repository keeps in ``results/published/``;
* ``compare``: our own runs compared with these facts;
* ``report``: ``docs/published_audit.md``; ``conclusions``: ``docs/results.md``.

Numbers of different backends are never put into one statistic.
"""
