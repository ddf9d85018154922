select
    -- ids
    seq,
    webhook_id,
    event_id,
    object_id,
    -- strings
    object_type,
    source,
    lane,
    topic,
    state,
    reason,
    -- counts
    cast(attempts as integer) as attempt_count,
    -- times
    triggered_at at time zone 'UTC' as triggered_at,
    received_at at time zone 'UTC' as first_seen_at,
    decided_at at time zone 'UTC' as last_seen_at
from {{ source("observability", "events") }}
where state in ('dead', 'discarded')
