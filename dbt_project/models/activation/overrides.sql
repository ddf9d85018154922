select
    -- ids
    override_id,
    used_by_run as used_by_run_id,
    -- strings
    destination,
    sync,
    gate,
    made_by,
    reason,
    -- times
    made_at at time zone 'UTC' as made_at,
    used_at at time zone 'UTC' as used_at
from {{ source("activation", "overrides") }}
