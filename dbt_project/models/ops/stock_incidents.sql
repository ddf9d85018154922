select
    -- ids
    drift_id as incident_id,
    item_id as inventory_item_id,
    location_id,
    sku,
    -- strings
    writer,
    state,
    -- counts
    expected_quantity,
    found_quantity,
    difference_units,
    -- times
    seen_at at time zone 'UTC' as storefront_updated_at,
    noticed_at at time zone 'UTC' as noticed_at,
    ended_at at time zone 'UTC' as ended_at,
    -- seconds
    {{ seconds_between("seen_at", "ended_at") }} as open_seconds
from {{ source("observability", "stock_incidents") }}
