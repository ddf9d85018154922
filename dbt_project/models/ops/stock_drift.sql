select
    -- ids
    item_id as inventory_item_id,
    location_id,
    sku,
    -- strings
    seen_by,
    target_state,
    -- counts
    cast(tier as integer) as tier,
    on_hand_quantity,
    committed_quantity,
    reserved_quantity,
    safety_quantity,
    available_quantity,
    seen_quantity as storefront_quantity,
    seen_quantity - available_quantity as difference_units,
    tolerated_difference as tolerated_units,
    -- booleans
    is_active,
    coalesce(is_active and seen_quantity <> available_quantity, false) as is_different,
    -- times
    seen_at at time zone 'UTC' as storefront_updated_at,
    confirmed_at at time zone 'UTC' as warehouse_confirmed_at,
    target_changed_at at time zone 'UTC' as target_changed_at,
    target_acknowledged_at at time zone 'UTC' as target_acknowledged_at,
    suspected_at at time zone 'UTC' as suspected_at,
    -- seconds
    {{ seconds_between("seen_at", "confirmed_at") }} as difference_seconds
from {{ source("observability", "stock_shelves") }}
