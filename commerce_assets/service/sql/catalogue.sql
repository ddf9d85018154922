-- The newest version of every variant, its inventory item, and what it sold for in the shop's currency over the
-- lake's orders.
with
    newest as (
        select
            variant_id,
            arg_max(inventory_item_id, (_version_at, _loaded_at)) as item_id,
            arg_max(sku, (_version_at, _loaded_at)) as sku,
            arg_max(is_tracked, (_version_at, _loaded_at)) as is_tracked
        from variants
        group by variant_id
    ),

    lines as (
        select
            arg_max(
                {'variant_id':variant_id, 'amount':gross_amount - discount_amount}, (_version_at, _loaded_at)
            ) as sold
        from order_lines
        where variant_id is not null
        group by order_line_id
    ),

    revenue as (select sold.variant_id as variant_id, sum(sold.amount) as revenue from lines group by 1)

select newest.item_id, newest.variant_id, newest.sku, newest.is_tracked, revenue.revenue
from newest
left join revenue on revenue.variant_id = newest.variant_id
