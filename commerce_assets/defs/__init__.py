"""The Dagster layer: what there is, what it depends on, when it runs. Knows every room; no room knows it.

Belongs here: assets whose bodies get, call a pure function, write, and say what they did; checks, gates, schedules, resources.
Does not belong here: how a source is read, what a row must look like, how a score or a diff is computed (the rooms do that).
"""
