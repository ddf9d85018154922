"""The events worker as Dagster sees it: its reports as runless materialisations, and the sensor that builds what they touched.

Belongs here: what tells Dagster about micro-batches. Does not belong here: receiving and working events (they never wait for Dagster).
"""
