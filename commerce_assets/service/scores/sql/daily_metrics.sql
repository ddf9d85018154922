-- The figures that are watched, by day and channel: orders, revenue, refunds, and units that left or entered stock.
with
    orders as (
        select
            ordered_on as day_on, source_name as channel, currency_code, count(*) as orders, sum(net_amount) as revenue
        from marts.fct_order
        where is_reportable and order_kind = 'sale'
        group by all
    ),

    refunds as (
        select
            refunds.refunded_on as day_on,
            orders.source_name as channel,
            refunds.currency_code,
            count(*) as refunds,
            sum(refunds.refunded_amount) as refunded
        from marts.fct_refund as refunds
        inner join marts.fct_order as orders on orders.order_id = refunds.order_id
        where refunds.is_reportable and refunds.order_kind = 'sale'
        group by all
    ),

    stock as (
        select
            levels.snapshot_on as day_on,
            locations.location_name as channel,
            levels.currency_code,
            abs(
                levels.on_hand_quantity - lag(levels.on_hand_quantity) over (
                    partition by levels.inventory_item_id, levels.location_id order by levels.snapshot_on
                )
            ) as moved,
            levels.unit_cost_amount
        from marts.fct_inventory_snapshot as levels
        inner join marts.dim_location as locations on locations.location_id = levels.location_id
        where levels.is_tracked
    )

select 'orders' as metric, channel, day_on, cast(orders as double) as value, revenue as money_amount, currency_code
from orders
union all
select 'revenue', channel, day_on, cast(revenue as double), revenue, currency_code
from orders
union all
select 'refunds', channel, day_on, cast(refunds as double), refunded, currency_code
from refunds
union all
select 'stock_moves', channel, day_on, cast(sum(moved) as double), sum(moved * unit_cost_amount), max(currency_code)
from stock
where moved is not null
group by channel, day_on
