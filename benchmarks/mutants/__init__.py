"""Mutation testing of the pure core by mutmut: ``make mutants``.

Each mutant is the core with one small change, and a test that fails kills it. What survives shows what no
test holds: it gets a test, or a reason in ``survivors.toml``. ``[tool.mutmut]`` in ``pyproject.toml`` says
what is mutated and which tests are run.

All is done in a copy of the sources, ``.mutants``. A run that was interrupted goes on where it stopped; later
runs try again what survived and what was changed. ``--fresh`` begins anew: needed after tests were removed.
"""
