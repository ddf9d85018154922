-- The fulfillments whose lines cannot be derived from their order's: all but the only live one of an order that holds
-- every piece of it.
with
    orders as (
        select
            order_id,
            sum(pieces) as pieces,
            count(*) filter (where fulfillment_id is not null and coalesce(is_live, true)) as live
        from scanned
        group by order_id
    )

select distinct 'gid://shopify/Fulfillment/' || fulfillments.fulfillment_id as id, fulfillments.fulfillment_id
from scanned as fulfillments
inner join orders on fulfillments.order_id = orders.order_id
where
    fulfillments.fulfillment_id is not null
    and not coalesce(fulfillments.is_live and orders.live = 1 and fulfillments.fulfilled = orders.pieces, false)
order by fulfillments.fulfillment_id
