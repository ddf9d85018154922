"""The warehouse as assets: every dbt model, and the published file that BI reads."""
