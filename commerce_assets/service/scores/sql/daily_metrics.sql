-- The figures that are watched, by day and channel: orders, revenue, refunds, and units that left or entered stock.
-- Revenue is what was sold on the day, before any return: what comes back later would make every past day smaller than
-- the newest, to which nothing came back yet. Returns are watched as refunds, on their own day.
with
    orders as (
        select
            ordered_on as day_on,
            coalesce(source_name, 'unknown') as channel,
            currency_code,
            count(*) as orders,
            sum(sales_amount) as revenue
        from marts.fct_order
        where is_reportable and order_kind = 'sale'
        group by all
    ),

    refunds as (
        select
            refunds.refunded_on as day_on,
            coalesce(orders.source_name, 'unknown') as channel,
            refunds.currency_code,
            count(*) as refunds,
            sum(refunds.refunded_amount) as refunded
        from marts.fct_refund as refunds
        inner join marts.fct_order as orders on orders.order_id = refunds.order_id
        where refunds.is_reportable and refunds.order_kind = 'sale'
        group by all
    ),

    snapshots as (
        select
            levels.snapshot_on,
            locations.location_name as channel,
            levels.currency_code,
            levels.unit_cost_amount,
            levels.on_hand_quantity,
            lag(levels.on_hand_quantity) over earlier as before_quantity,
            lag(levels.snapshot_on) over earlier as before_on
        from marts.fct_inventory_snapshot as levels
        inner join marts.dim_location as locations on locations.location_id = levels.location_id
        where levels.is_tracked
        window earlier as (partition by levels.inventory_item_id, levels.location_id order by levels.snapshot_on)
    ),

    -- A day without a snapshot is no day without moves: what moved between two snapshots is shared by the days between.
    stock as (
        select
            channel,
            currency_code,
            unit_cost_amount,
            cast(unnest(generate_series(before_on + interval 1 day, snapshot_on, interval 1 day)) as date) as day_on,
            abs(on_hand_quantity - before_quantity) / (snapshot_on - before_on) as moved
        from snapshots
        where before_on is not null
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
select
    'stock_moves',
    channel,
    day_on,
    round(sum(moved)),
    cast(sum(moved * unit_cost_amount) as decimal(18, 4)),
    max(currency_code)
from stock
group by channel, day_on
