"""Webhooks in: receiver, inbox, worker, dead letters, reconciliation; the books of stock in `stock/`.

Belongs here: how an event is stored, ordered, decided and brought to its end, whichever way in it came; the protocols (`ports.py`) by
which it reaches what lies outside. Does not belong here: other rooms (`commerce_assets/service` fills the protocols with them), the
trace and the figures (observability), Dagster (`defs/events`).

An event's way through: a way in (`receiver`, `intake_*`) appends to the `inbox`; the `worker` reads it lane by lane, `decide` settles
what becomes of it, `lander` lands micro-batches, and the `books` hold every state on the way.
"""
