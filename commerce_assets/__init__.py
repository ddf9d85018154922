"""commerce_assets: a Dagster asset-based data platform for online retailers."""
