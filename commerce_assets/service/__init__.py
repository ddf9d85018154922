"""The resident service: receiver, worker and stock pusher, put together out of the rooms.

Belongs here: wiring, that is the rooms' protocols filled with other rooms' functions, and the processes. Does not belong here: any rule
about events, stock or documents. Imports Dagster only where reports are shown (late).
"""
