"""Webhooks in: receiver, inbox, worker, dead letters, replay, trace. Filled by the events issue."""
