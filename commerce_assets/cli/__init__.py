"""`commerce …`: the command line. Belongs here: parsing, starting processes, printing. The work is in the rooms.

Beside the tests this is the only place that may import the sandbox (to serve and fill it); everything else reaches it over HTTP.
"""

from commerce_assets.cli.app import main

__all__ = ["main"]
