"""Statistics of evaluations: pure functions over numpy, scipy and statsmodels, which are loaded when one is called.

None of them takes repeats for independent: they take one number for each item (see `repeats.item_means`).
"""
