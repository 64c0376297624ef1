"""Statistics of evaluations: pure functions over numpy, scipy and statsmodels, which are loaded when one is called.

None of them takes repeats for independent: they take one number for each item (see `repeats.item_means`). Formulas of a
line are written out where the library that has them would take a web process seconds to load; tests hold them against
it.
"""
