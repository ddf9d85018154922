"""The storefront as assets: one a document family, from pull to lake, with the contract check of each of its tables."""
