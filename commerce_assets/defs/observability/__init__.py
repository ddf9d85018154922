"""How the platform itself is doing, as assets: copies of the books of events and stock, and the checks on them.

Belongs here: when copies are made, what is checked. Does not belong here: what is copied (observability/snapshots.py), what the
figures mean (dbt_project/models/ops), what a check looks at (observability/kpis.py).
"""
