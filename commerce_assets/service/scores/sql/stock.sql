-- Stock as it was counted last, up to the day that is scored.
select
    variant_id,
    location_id,
    cast(available_quantity as bigint) as available_count,
    cast(incoming_quantity as bigint) as incoming_count,
    unit_cost_amount,
    currency_code
from marts.fct_inventory_snapshot
where variant_id is not null and is_tracked and is_active and snapshot_on <= getvariable('as_of_on')
qualify snapshot_on = max(snapshot_on) over ()
