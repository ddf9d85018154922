"""What the storefront should hold, against what the ledger says it holds: plan, apply, receipts, undo.

Belongs here: the engine (`fingerprint`, `plan`, `ledger`, `engine`), what is done beside pushes (`plans`, `pauses`, `undo`, `resync`), the
syncs there are (`syncs`), destinations behind one protocol, and what each sync
maps to what. Does not belong here: Dagster, computing scores, how a storefront is reached (its client is handed in).

An order's way through: `customer_scores.push_customer_scores` maps the desired frame, `engine.push` resolves what an earlier
run left open, plans the difference, and for each chunk writes intents, calls the destination, and writes outcomes.
"""
