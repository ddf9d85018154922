"""The worker's way into the lake: micro-batches of payloads, of fetched documents and of deletions, through the same contracts as pulls."""

import json
import re
import shutil
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from commerce_assets.contracts.mapping import FamilyMapping
from commerce_assets.events.ports import Landed
from commerce_assets.lake import AppendPartition, Lake, land
from commerce_assets.lake.report import EVENTS
from commerce_assets.sources.shopify.mapping import MAPPINGS
from commerce_assets.sources.shopify.webhook_mapping import WEBHOOK_MAPPINGS

DELETIONS = "deletions"
PARTS = {"transactions": "OrderTransaction", "refunds": "Refund", "fulfillments": "Fulfillment"}
"""Tables whose rows are parts of an order that come as events of their own."""
_ROOT_ID = re.compile(rb'\{"id":"gid://shopify/[A-Za-z]+/(\d{1,19})"')


class LakeLanding:
    """`events.ports.Landing` on a lake. A batch landed again replaces what it left."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake

    def folder(self, family: str, batch_id: str) -> Path:
        """The folder of a batch's raw files, empty: what an interrupted try left is gone."""
        folder = self.lake.new_load_dir("storefront", family, _load_id(batch_id))
        shutil.rmtree(folder)
        return self.lake.new_load_dir("storefront", family, _load_id(batch_id))

    def land_payloads(self, family: str, batch_id: str, lines: Iterable[bytes]) -> Landed:
        """Land event documents, each one line in the shape of `sources/shopify/webhook_mapping.py`."""
        written = self._written(family, batch_id, "payloads.jsonl", lines)
        name = str(written.relative_to(self.lake.files_root))
        with written.open("rb") as handle:
            places = {int(found[1]): (name, number) for number, line in enumerate(handle, 1) if (found := _ROOT_ID.match(line))}
        return self._land(WEBHOOK_MAPPINGS[family], batch_id, [written], places)

    def land_documents(self, family: str, batch_id: str, files: Sequence[Path]) -> Landed:
        """Land documents as the Admin API gave them, in files that lie in `folder`."""
        return self._land(MAPPINGS[family], batch_id, files, {})

    def land_deletions(self, batch_id: str, deletions: Sequence[tuple[str, int, datetime]]) -> Landed:
        """Land what was deleted: (order, customer or product; id; moment)."""
        lines = (
            json.dumps({"id": f"gid://shopify/{kind.capitalize()}/{number}", "deletedAt": at.isoformat()}, separators=(",", ":")).encode()
            for kind, number, at in deletions
        )
        return self._land(MAPPINGS[DELETIONS], batch_id, [self._written(DELETIONS, batch_id, "deletions.jsonl", lines)], {})

    def _written(self, family: str, batch_id: str, name: str, lines: Iterable[bytes]) -> Path:
        place = self.folder(family, batch_id) / name
        with place.open("wb") as handle:
            handle.writelines(line + b"\n" for line in lines)
        return place

    def _land(self, mapping: FamilyMapping, batch_id: str, files: Sequence[Path], places: dict[int, tuple[str, int]]) -> Landed:
        load_id = _load_id(batch_id)
        partition = AppendPartition(load_id)
        report = land(self.lake, mapping.family, mapping, files, load_id, partition, loaded_at=partition.begun_at)
        has_refused = bool(report.quarantined or report.broken_lines)
        return Landed(
            load_id=report.load_id,
            rows=report.accepted,
            quarantined=report.quarantined,
            partitions=tuple(report.partitions),
            refused=self.lake.refused(mapping.root.table, load_id) if has_refused else {},
            source_files=places,
            refused_parts={
                (kind, number): rules
                for table, kind in PARTS.items()
                if has_refused and mapping.family == "orders"
                for number, rules in self.lake.refused(table, load_id, "row_key").items()
            },
        )


def _load_id(batch_id: str) -> str:
    """A micro-batch's load goes by the name of its partition."""
    return f"{EVENTS}{batch_id}"
