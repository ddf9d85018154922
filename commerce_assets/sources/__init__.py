"""How each system is read: one package a system; each yields files or frames. Knows contracts and config, no sibling room, no Dagster."""
