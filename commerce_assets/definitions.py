"""What Dagster loads: `build_defs(…) -> Definitions`, and nothing else."""

import warnings
from typing import Any

import dagster as dg

from commerce_assets.config import load_settings
from commerce_assets.defs.assemble import assemble


def build_defs(**overrides: Any) -> dg.Definitions:
    """Everything, as the settings have it; resources may be overridden by name (`build_defs(lake=…)`)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # single-run backfills, in use since Dagster 1.5
        return assemble(load_settings(), overrides)


defs = build_defs()
