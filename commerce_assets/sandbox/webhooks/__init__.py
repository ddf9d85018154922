"""Webhooks of the sandbox store: subscriptions, change capture, payloads, delivery.

Belongs here: what a store tells its subscribers, and how. Does not belong here: what a receiver makes of it.
"""
