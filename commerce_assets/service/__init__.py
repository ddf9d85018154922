"""What is put together out of several rooms: the resident service (receiver, worker, stock pusher), `scores` and `syncs`.

Belongs here: wiring, that is the rooms' protocols filled with other rooms' functions, and the processes. Does not belong here: any rule
about events, stock or documents, any model. Imports Dagster only where reports are shown (late).
"""
