"""Scores as assets: marts in, one row a customer (or product) in the lake out, with a receipt."""
