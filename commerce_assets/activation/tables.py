"""The ledger's tables, through SQLAlchemy Core, and how those of an older version get what they lack.

activation_runs     one row a push, undo or resync
activation_changes  one row a record a run set out to write: the intent before the outside write, its outcome after;
                    `outcome` is null in between, and for ever after a crash until a later run resolves it
activation_state    one row a record: what the destination holds as far as is known, and its fingerprint
activation_plans    one row a plan that was shown: counts and a digest of all of it
activation_pauses   one row a sync that is not to be pushed
activation_gates    one row a gate that a run found shut, and whether that stopped it or was overridden
activation_overrides one row a permission to pass one gate of one sync once
activation_arms     one row a key of a sync with a holdout: treated or held out, since when
activation_segments one row a segment and moment: how many it should hold and how many the storefront counts
"""

import sqlalchemy as sa

METADATA = sa.MetaData()
_INSTANT = sa.DateTime(timezone=True)

RUNS = sa.Table(
    "activation_runs",
    METADATA,
    sa.Column("run_id", sa.String(40), primary_key=True, comment="The push; sorts by time."),
    sa.Column("requested_by", sa.String(120), comment="The caller's own run id, such as Dagster's."),
    sa.Column("destination", sa.String(60), nullable=False),
    sa.Column("sync", sa.String(120), nullable=False),
    sa.Column("status", sa.String(20), nullable=False, comment="running, succeeded, partial (some rows failed) or interrupted."),
    sa.Column("started_at", _INSTANT, nullable=False),
    sa.Column("finished_at", _INSTANT),
    *(
        sa.Column(f"{name}_count", sa.BigInteger, nullable=False, server_default="0")
        for name in (
            *("desired", "create", "update", "remove", "unchanged", "skipped"),
            *("succeeded", "failed", "unknown", "resolved", "request"),
            *("canary", "canary_failed", "canary_differing", "held_out", "no_consent", "point", "throttled"),
        )
    ),
    sa.Column("error", sa.Text, comment="Why it was interrupted."),
    sa.Column("kind", sa.String(10), nullable=False, server_default="push", comment="push, undo or resync."),
    sa.Column("of_run", sa.String(40), comment="The run that an undo takes back."),
    sa.Column("model_at", _INSTANT, comment="The newest moment that the sync's model described."),
    sa.Column("points_a_second", sa.Float, comment="What the destination restores of its budget, where it has one."),
    sa.Column("writing_seconds", sa.Float, comment="From the first write to the last."),
)
CHANGES = sa.Table(
    "activation_changes",
    METADATA,
    sa.Column("run_id", sa.String(40), primary_key=True),
    sa.Column("record_key", sa.String(255), primary_key=True),
    sa.Column("destination", sa.String(60), nullable=False),
    sa.Column("sync", sa.String(120), nullable=False),
    sa.Column("operation", sa.String(10), nullable=False, comment="create, update or remove."),
    sa.Column("changed_fields", sa.Text, nullable=False, comment="Names of the fields that differ, joined by commas."),
    sa.Column("old_fingerprint", sa.String(32)),
    sa.Column("new_fingerprint", sa.String(32)),
    sa.Column("idempotency_key", sa.String(36), nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False, comment="1 for the first try of this content, more after failures."),
    sa.Column("intended_at", _INSTANT, nullable=False),
    sa.Column("outcome", sa.String(10), comment="succeeded, failed or skipped; null while open."),
    sa.Column("reason", sa.Text, comment="Why it failed or was skipped, or how an open outcome was resolved."),
    sa.Column("resolved_at", _INSTANT),
    sa.Column("prior_fields", sa.Text, comment="What the destination held before, as JSON; null once too old to be undone."),
    sa.Column("written_fields", sa.Text, comment="What it holds after (while open: what it is to hold), as JSON; null once too old."),
)
sa.Index("activation_changes_key", CHANGES.c.idempotency_key)
sa.Index(
    "activation_changes_open",
    CHANGES.c.destination,
    CHANGES.c.sync,
    sqlite_where=CHANGES.c.outcome.is_(None),
    postgresql_where=CHANGES.c.outcome.is_(None),
)
# What a run clears of values that have become too old, found without reading the rows.
sa.Index(
    "activation_changes_kept",
    CHANGES.c.destination,
    CHANGES.c.sync,
    CHANGES.c.intended_at,
    sqlite_where=CHANGES.c.prior_fields.is_not(None),
    postgresql_where=CHANGES.c.prior_fields.is_not(None),
)
STATE = sa.Table(
    "activation_state",
    METADATA,
    sa.Column("destination", sa.String(60), primary_key=True),
    sa.Column("sync", sa.String(120), primary_key=True),
    sa.Column("record_key", sa.String(255), primary_key=True),
    sa.Column("fingerprint", sa.String(32), nullable=False, comment="Of the mapped fields held; 'gone' where the record no longer exists."),
    sa.Column("fields", sa.Text, nullable=False, comment="What is held, as JSON."),
    sa.Column("run_id", sa.String(40), nullable=False, comment="The push that last learnt or wrote it."),
    sa.Column("updated_at", _INSTANT, nullable=False),
)
# Holds all that a plan reads, so that planning never touches the wide rows.
sa.Index("activation_state_plan", STATE.c.destination, STATE.c.sync, STATE.c.record_key, STATE.c.fingerprint)
PLANS = sa.Table(
    "activation_plans",
    METADATA,
    sa.Column("plan_id", sa.String(40), primary_key=True, comment="Sorts by time."),
    sa.Column("destination", sa.String(60), nullable=False),
    sa.Column("sync", sa.String(120), nullable=False),
    sa.Column("made_at", _INSTANT, nullable=False),
    *(
        sa.Column(f"{name}_count", sa.BigInteger, nullable=False)
        for name in ("desired", "create", "update", "remove", "unchanged", "skipped")
    ),
    sa.Column("digest", sa.String(64), nullable=False, comment="SHA-256 over every change: key, operation, new fingerprint."),
)
PAUSES = sa.Table(
    "activation_pauses",
    METADATA,
    sa.Column("destination", sa.String(60), primary_key=True),
    sa.Column("sync", sa.String(120), primary_key=True),
    sa.Column("paused_at", _INSTANT, nullable=False),
    sa.Column("paused_by", sa.String(120), nullable=False, comment="Who paused it: a user of the command line, or an undo."),
    sa.Column("reason", sa.Text, nullable=False),
)
GATES = sa.Table(
    "activation_gates",
    METADATA,
    sa.Column("run_id", sa.String(40), primary_key=True),
    sa.Column("gate", sa.String(40), primary_key=True, comment="Its name: records.Gate."),
    sa.Column("destination", sa.String(60), nullable=False),
    sa.Column("sync", sa.String(120), nullable=False),
    sa.Column("message", sa.Text, nullable=False, comment="What it found, in counts and names."),
    sa.Column("outcome", sa.String(10), nullable=False, comment="refused or overridden."),
    sa.Column("override_id", sa.String(40)),
    sa.Column("tripped_at", _INSTANT, nullable=False),
)
OVERRIDES = sa.Table(
    "activation_overrides",
    METADATA,
    sa.Column("override_id", sa.String(40), primary_key=True, comment="Sorts by time."),
    sa.Column("destination", sa.String(60), nullable=False),
    sa.Column("sync", sa.String(120), nullable=False),
    sa.Column("gate", sa.String(40), nullable=False),
    sa.Column("made_at", _INSTANT, nullable=False),
    sa.Column("made_by", sa.String(120), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("used_by_run", sa.String(40), comment="The one run that passed the gate by it; null until then."),
    sa.Column("used_at", _INSTANT),
)
ARMS = sa.Table(
    "activation_arms",
    METADATA,
    sa.Column("destination", sa.String(60), primary_key=True),
    sa.Column("sync", sa.String(120), primary_key=True),
    sa.Column("record_key", sa.String(255), primary_key=True),
    sa.Column("arm", sa.String(10), nullable=False, comment="treated, holdout or before (in neither); never changed once written."),
    sa.Column("holdout_share", sa.Float, comment="Share that was to be held out when the key was assigned."),
    sa.Column("assigned_at", _INSTANT, nullable=False, comment="When the sync first wanted to write the key."),
)
SEGMENTS = sa.Table(
    "activation_segments",
    METADATA,
    sa.Column("destination", sa.String(60), primary_key=True),
    sa.Column("segment", sa.String(120), primary_key=True),
    sa.Column("measured_at", _INSTANT, primary_key=True),
    sa.Column("desired_count", sa.BigInteger, nullable=False, comment="Customers whom the model puts into it."),
    sa.Column("member_count", sa.BigInteger, comment="Customers whom the destination counts in it; null where it does not say."),
    sa.Column("entered_count", sa.BigInteger, nullable=False, comment="Came in since the measurement before."),
    sa.Column("left_count", sa.BigInteger, nullable=False, comment="Went out since then."),
    sa.Column("segment_gid", sa.String(255), comment="The destination's own id of it."),
)
VALUES = ("prior_fields", "written_fields")
"""Columns of activation_changes that hold values: they may be personal and are never published."""


def create_tables(engine: sa.Engine) -> None:
    """Tables, columns and indexes that are not there yet; may be repeated, also after it was killed half-way."""
    METADATA.create_all(engine)
    inspector = sa.inspect(engine)
    for table in METADATA.sorted_tables:
        there = {column["name"] for column in inspector.get_columns(table.name)}
        for column in (column for column in table.columns if column.name not in there):
            specification = sa.schema.CreateColumn(column).compile(dialect=engine.dialect)
            with engine.begin() as connection:
                connection.execute(sa.DDL(f"alter table {table.name} add column {specification}"))
        for index in table.indexes:
            index.create(engine, checkfirst=True)
