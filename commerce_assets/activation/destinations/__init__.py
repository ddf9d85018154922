"""Where records are written, one module a destination, all behind `records.Destination` and the same contract tests.

Belongs here: how a destination takes records, in which batches, and what its answers mean for each row. Does not belong here: what is
kept in the ledger, and which fields a sync writes.
"""
