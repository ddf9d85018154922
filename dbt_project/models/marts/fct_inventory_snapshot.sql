with
    levels as (select * from {{ ref("stg_storefront__inventory_levels") }}),

    items as (select * from {{ ref("stg_storefront__inventory_items") }}),

    -- Two variants may share an inventory item only while one is being replaced: the newer stands for it.
    variants as (
        select inventory_item_id, max(variant_id) as variant_id
        from {{ ref("stg_storefront__variants") }}
        group by inventory_item_id
    )

select
    -- ids
    levels.inventory_item_id,
    levels.location_id,
    variants.variant_id,
    -- strings
    items.sku,
    items.currency_code,
    -- counts
    levels.available_quantity,
    levels.on_hand_quantity,
    levels.committed_quantity,
    levels.incoming_quantity,
    levels.reserved_quantity,
    -- amounts
    items.unit_cost_amount,
    {{ money("levels.on_hand_quantity * items.unit_cost_amount") }} as stock_value_amount,
    -- booleans
    levels.is_active,
    coalesce(items.is_tracked, false) as is_tracked,
    coalesce(items.is_tracked, false) and levels.is_active and levels.available_quantity <= 0 as is_out_of_stock,
    -- times
    levels.snapshot_on,
    levels.updated_at,
    -- where it came from
    levels._source_file,
    levels._line,
    levels._loaded_at
from levels
left join items on items.inventory_item_id = levels.inventory_item_id
left join variants on variants.inventory_item_id = levels.inventory_item_id
