"""What is written back to other systems, each sync an asset, each behind its gate."""
