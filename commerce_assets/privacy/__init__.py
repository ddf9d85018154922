"""Masking, erasure, retention."""
