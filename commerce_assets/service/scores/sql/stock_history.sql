-- Stock by variant, location and day, as each day's last snapshot counted it. What sells on without stock loses no
-- demand: its days without stock are not among them.
select
    stock.variant_id, stock.location_id, stock.snapshot_on, cast(stock.available_quantity as bigint) as available_count
from marts.fct_inventory_snapshot as stock
left join marts.dim_variant as variants on variants.variant_id = stock.variant_id
where
    stock.variant_id is not null
    and stock.is_tracked
    and stock.is_active
    and stock.available_quantity is not null
    and (stock.available_quantity > 0 or coalesce(variants.inventory_policy, 'deny') <> 'continue')
