-- Stock by variant, location and day, as each day's last snapshot counted it.
select variant_id, location_id, snapshot_on, cast(available_quantity as bigint) as available_count
from marts.fct_inventory_snapshot
where variant_id is not null and is_tracked and is_active and available_quantity is not null
