"""Upkeep of the lake: nothing here changes what readers see."""
