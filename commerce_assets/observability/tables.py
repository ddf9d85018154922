"""The copies of the books: names, columns and types. Light to import, because Dagster shows them whenever it loads the definitions.

Belongs here: what a copy looks like. Does not belong here: making it (snapshots.py).
"""

import polars as pl

_INSTANT = pl.Datetime("us", "UTC")
_BIGINT, _TEXT, _DOUBLE = pl.Int64(), pl.String(), pl.Float64()

Schema = dict[str, pl.DataType]
EVENT_TABLES: dict[str, Schema] = {
    "events": {
        "seq": _BIGINT,
        **dict.fromkeys(("webhook_id", "source", "lane", "topic", "event_id", "object_type"), _TEXT),
        "object_id": _BIGINT,
        "state": _TEXT,
        "reason": _TEXT,
        "attempts": _BIGINT,
        **dict.fromkeys(("triggered_at", "received_at", "stored_at", "decided_at", "landed_at", "finished_at"), _INSTANT),
        "batch_id": _TEXT,
        "source_file": _TEXT,
        "line": _BIGINT,
    },
    "webhook_hours": {"hour_at": _INSTANT, **dict.fromkeys(("source", "topic", "outcome", "reason"), _TEXT), "delivery_count": _BIGINT},
    "landings": {
        **dict.fromkeys(("day", "family", "lane", "kind", "status"), _TEXT),
        **dict.fromkeys(("batch_count", "event_count", "object_count", "row_count", "quarantined_count"), _BIGINT),
    },
    "reconciliations": {
        "object_type": _TEXT,
        **dict.fromkeys(("since_at", "until_at", "started_at", "finished_at"), _INSTANT),
        **dict.fromkeys(("seen_count", "missed_count"), _BIGINT),
    },
    "interventions": {
        "kind": _TEXT,
        "taken_at": _INSTANT,
        **dict.fromkeys(("taken_by", "topic", "object_type"), _TEXT),
        "object_id": _BIGINT,
        "was_reason": _TEXT,
        "row_count": _BIGINT,
    },
}
"""What became of events; `events.state` is `stored` until a lane takes the event."""
FLOW_TABLES: dict[str, Schema] = {
    "loads": {
        **dict.fromkeys(("load_id", "family"), _TEXT),
        "is_replay": pl.Boolean(),
        "loaded_at": _INSTANT,
        **dict.fromkeys(("read_count", "accepted_count", "quarantined_count", "duplicate_count"), _BIGINT),
    },
    "refused_rows": {
        **dict.fromkeys(("table_name", "load_id"), _TEXT),
        "root_id": _BIGINT,
        "failed_rules": pl.List(pl.String()),
        "source_file": _TEXT,
        "line": _BIGINT,
        "loaded_at": _INSTANT,
    },
    "publishes": {"version": _TEXT, "published_at": _INSTANT, "run_id": _TEXT},
    "customer_scores": {"customer_id": _BIGINT, "scored_at": _INSTANT},
    "push_runs": {"run_id": _TEXT, "status": _TEXT, "started_at": _INSTANT, "finished_at": _INSTANT},
    "pushes": {
        "customer_id": _BIGINT,
        **dict.fromkeys(("run_id", "operation", "outcome", "changed_fields"), _TEXT),
        "intended_at": _INSTANT,
        "resolved_at": _INSTANT,
    },
}
"""What else an order's flight passes: loads, quarantine, publishes, scores, pushes."""
STOCK_TABLES: dict[str, Schema] = {
    "stock_shelves": {
        **dict.fromkeys(("item_id", "location_id"), _BIGINT),
        "sku": _TEXT,
        "tier": _BIGINT,
        "is_active": pl.Boolean(),
        **dict.fromkeys(
            (
                *("on_hand_quantity", "committed_quantity", "reserved_quantity", "safety_quantity", "available_quantity"),
                *("seen_quantity", "expected_quantity", "tolerated_difference"),
            ),
            _BIGINT,
        ),
        **dict.fromkeys(("confirmed_at", "seen_at", "suspected_at"), _INSTANT),
        "seen_by": _TEXT,
        "target_quantity": _BIGINT,
        "target_state": _TEXT,
        "target_changed_at": _INSTANT,
        "target_acknowledged_at": _INSTANT,
    },
    "stock_syncs": {
        "push_id": _TEXT,
        **dict.fromkeys(("item_id", "location_id"), _BIGINT),
        "sku": _TEXT,
        **dict.fromkeys(("tier", "quantity", "change_from", "version"), _BIGINT),
        "outcome": _TEXT,
        **dict.fromkeys(("occurred_at", "taken_at", "sent_at", "acknowledged_at"), _INSTANT),
    },
    "stock_incidents": {
        **dict.fromkeys(("drift_id", "item_id", "location_id"), _BIGINT),
        "sku": _TEXT,
        "writer": _TEXT,
        **dict.fromkeys(("seen_at", "noticed_at", "ended_at"), _INSTANT),
        **dict.fromkeys(("expected_quantity", "found_quantity", "difference_units"), _BIGINT),
        "state": _TEXT,
    },
}
"""What the books of stock hold beside what the storefront shows."""
TABLES: dict[str, Schema] = {
    **EVENT_TABLES,
    **FLOW_TABLES,
    **STOCK_TABLES,
    "snapshots": {"name": _TEXT, "taken_at": _INSTANT, "row_count": _BIGINT},
}
ACTIVATION_TABLES: dict[str, Schema] = {
    "runs": {
        **dict.fromkeys(("run_id", "requested_by", "destination", "sync", "kind", "of_run", "status"), _TEXT),
        **dict.fromkeys(("started_at", "finished_at", "model_at"), _INSTANT),
        **dict.fromkeys(
            (
                *("desired_count", "create_count", "update_count", "remove_count", "unchanged_count", "skipped_count"),
                *("succeeded_count", "failed_count", "unknown_count", "resolved_count", "request_count"),
                *("canary_count", "canary_failed_count", "canary_differing_count", "held_out_count", "no_consent_count"),
                *("point_count", "throttled_count"),
            ),
            _BIGINT,
        ),
        **dict.fromkeys(("points_a_second", "writing_seconds", "freshness_seconds", "budget_use_rate"), _DOUBLE),
        "error": _TEXT,
    },
    "changes": {
        **dict.fromkeys(("run_id", "record_key", "destination", "sync", "operation", "changed_fields"), _TEXT),
        **dict.fromkeys(("old_fingerprint", "new_fingerprint", "outcome", "reason"), _TEXT),
        "attempt": _BIGINT,
        **dict.fromkeys(("intended_at", "resolved_at"), _INSTANT),
    },
    "snapshots": {**dict.fromkeys(("destination", "sync", "record_key", "fingerprint", "run_id"), _TEXT), "updated_at": _INSTANT},
    "segments": {
        **dict.fromkeys(("destination", "segment", "segment_gid"), _TEXT),
        "measured_at": _INSTANT,
        **dict.fromkeys(("desired_count", "member_count", "entered_count", "left_count"), _BIGINT),
    },
    "gates": {
        **dict.fromkeys(("run_id", "gate", "destination", "sync", "message", "outcome", "override_id"), _TEXT),
        "tripped_at": _INSTANT,
    },
    "overrides": {
        **dict.fromkeys(("override_id", "destination", "sync", "gate", "made_by", "reason", "used_by_run"), _TEXT),
        **dict.fromkeys(("made_at", "used_at"), _INSTANT),
    },
    "arms": {**dict.fromkeys(("destination", "sync", "record_key", "arm"), _TEXT), "assigned_at": _INSTANT, "holdout_share": _DOUBLE},
}
"""Copies of the activation ledger (activation_log.py): no value that was written, and no idempotency key, from which a key that is masked
elsewhere could be guessed back."""
FOLDERS: dict[str, dict[str, Schema]] = {"observability": TABLES, "activation": ACTIVATION_TABLES}
"""Folder of the lake -> the tables in it."""
