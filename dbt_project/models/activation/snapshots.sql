select
    -- ids
    record_key,
    {{ product_of_key("record_key") }} as product_id,
    run_id,
    -- strings
    destination,
    sync,
    case when fingerprint <> 'gone' then fingerprint end as fingerprint,
    -- booleans
    fingerprint = 'gone' as is_gone,
    -- times
    updated_at at time zone 'UTC' as updated_at
from {{ source("activation", "snapshots") }}
