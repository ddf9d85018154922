"""`python -m commerce_assets.cli` is `commerce`."""

from commerce_assets.cli.app import main

main()
