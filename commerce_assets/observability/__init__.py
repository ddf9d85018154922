"""What measures every hop: one order's trace, copies of the books for the figures in schema `ops`, the figures behind checks.

Belongs here: reading what other rooms keep and saying where things stand. Does not belong here: what the figures mean over time
(`dbt_project/models/ops`), when copies are made and checked (`defs/observability`), changing anything. It may know other rooms, because
it reads all of them; none of them knows it.
"""
