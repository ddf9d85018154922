-- How long the storefront shows a SKU's old number: the 95th percentile of the last 30 days, from the copies of the
-- books of stock. It begins with the fact itself, by the warehouse's clock, or with its booking if that clock is ahead.
select
    items.variant_id,
    syncs.location_id,
    cast(
        quantile_cont(
            date_diff('millisecond', least(syncs.occurred_at, syncs.taken_at), syncs.acknowledged_at) / 1000.0, 0.95
        ) as double
    ) as sync_p95_seconds
from read_parquet(getvariable('lake_root') || '/observability/stock_syncs/*.parquet', union_by_name = true) as syncs
inner join
    (select inventory_item_id, max(variant_id) as variant_id from marts.dim_variant group by inventory_item_id) as items
    on items.inventory_item_id = syncs.item_id
where
    syncs.outcome = 'acknowledged'
    and syncs.taken_at is not null
    and syncs.acknowledged_at > cast(getvariable('as_of_on') as timestamp) at time zone 'UTC' - interval 30 day
    and syncs.acknowledged_at < cast(getvariable('as_of_on') as timestamp) at time zone 'UTC' + interval 1 day
group by items.variant_id, syncs.location_id
