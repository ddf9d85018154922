"""What a destination should hold, against what the ledger says it holds: plan, gates, apply, receipts, undo.

Belongs here: syncs as they are declared (`declarations`, `targets`) and how rows become records (`mapping`, `audiences`); the engine
(`desired`, `fingerprint`, `plan`, `guards`, `ledger`, `engine`); who is not written (`arms`, `sampling`); what is done beside pushes (`plans`,
`pauses`, `overrides`, `undo`, `resync`); segments (`segments…`); destinations behind one protocol. Does not belong here: Dagster, computing
scores, how a storefront is reached (its client is handed in), reading the warehouse (service).

A record's way through: `mapping.as_records` makes text of a row, `engine.push` resolves what an earlier run left open, plans the difference,
passes the gates, and for each chunk asks for consent, writes intents, calls the destination, and writes outcomes.
"""
