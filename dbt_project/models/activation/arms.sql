select
    -- ids
    record_key,
    {{ customer_of_key("record_key") }} as customer_id,
    -- strings
    destination,
    sync,
    arm,
    -- rates
    holdout_share as holdout_rate,
    -- times
    assigned_at at time zone 'UTC' as assigned_at
from {{ source("activation", "arms") }}
