"""Scores put together: what each reads of the warehouse, the pure function that makes it, what it has to keep, where it is kept.

Belongs here: the list of scores, running one, the receipt in force, the backtest page. Does not belong here: any model (`scoring`), any
Dagster (`defs/scoring`).
"""
