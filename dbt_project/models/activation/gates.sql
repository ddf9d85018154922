select
    -- ids
    run_id,
    override_id,
    -- strings
    destination,
    sync,
    gate,
    message,
    outcome,
    -- times
    tripped_at at time zone 'UTC' as tripped_at
from {{ source("activation", "gates") }}
