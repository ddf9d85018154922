"""Where raw data lies: landing, accepted and quarantined rows, partitions, reports, compaction.

Belongs here: everything that reads or writes the lake's folders. Knows contracts only; any source tells it by a `FamilyMapping` how
its JSON becomes the contracts' columns. Does not belong here: fetching (sources) and modelling (dbt).
"""

from commerce_assets.contracts.mapping import FamilyMapping, LineShape, TableMapping
from commerce_assets.lake.compaction import compact
from commerce_assets.lake.errors import ControlTotalError, LakeError, LoadError
from commerce_assets.lake.folding import Folded, fold_events
from commerce_assets.lake.landing import land
from commerce_assets.lake.quarantine import quarantine_rows
from commerce_assets.lake.replay import Replayed, replay
from commerce_assets.lake.report import AppendPartition, Declared, LoadReport, Merge, Mode, ReplaceDays, ReplacePartition, TableReport
from commerce_assets.lake.store import Lake

__all__ = [
    "AppendPartition",
    "ControlTotalError",
    "Declared",
    "FamilyMapping",
    "Folded",
    "Lake",
    "LakeError",
    "LineShape",
    "LoadError",
    "LoadReport",
    "Merge",
    "Mode",
    "ReplaceDays",
    "ReplacePartition",
    "Replayed",
    "TableMapping",
    "TableReport",
    "compact",
    "fold_events",
    "land",
    "quarantine_rows",
    "replay",
]
