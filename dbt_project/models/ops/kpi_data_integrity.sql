with
    records as (
        select
            cast(loaded_at at time zone 'UTC' as date) as day_on,
            sum(read_count - duplicate_count) as record_count,
            sum(quarantined_count) as refused_count
        from {{ source("observability", "loads") }}
        where not is_replay
        group by 1
        union all
        select strptime(day, '%Y%m%d')::date, sum(row_count + quarantined_count), sum(quarantined_count)
        from {{ source("observability", "landings") }}
        where status = 'landed'
        group by 1
        union all
        -- An event that could not be taken in at all is a record with an error too.
        select cast(received_at at time zone 'UTC' as date), count(*), count(*)
        from {{ source("observability", "events") }}
        where state in ('dead', 'discarded')
        group by 1
    ),

    by_day as (
        select day_on, sum(record_count) as record_count, sum(refused_count) as error_count from records group by day_on
    ),

    -- Corrected by hand: a dead letter of it was replayed or discarded, or a replay from quarantine brought the
    -- version held.
    corrected as (
        select object_id as order_id
        from {{ source("observability", "interventions") }}
        where object_type = 'Order' and object_id is not null
        union
        select orders.order_id
        from {{ ref("stg_storefront__orders") }} as orders
        inner join
            {{ source("observability", "loads") }} as loads
            on loads.is_replay
            and loads.family = 'orders'
            and loads.loaded_at at time zone 'UTC' = orders._loaded_at
    ),

    orders as (
        select
            cast(orders.created_at as date) as day_on,
            count(*) as order_count,
            count(corrected.order_id) as corrected_order_count
        from {{ ref("stg_storefront__orders") }} as orders
        left join corrected on corrected.order_id = orders.order_id
        where orders.created_at >= cast(now() at time zone 'UTC' as timestamp) - interval '{{ var("trace_days") }} days'
        group by 1
    )

select
    coalesce(by_day.day_on, orders.day_on) as day_on,
    cast(coalesce(by_day.record_count, 0) as bigint) as record_count,
    cast(coalesce(by_day.error_count, 0) as bigint) as error_count,
    1 - cast(by_day.error_count as double) / nullif(by_day.record_count, 0) as record_integrity_rate,
    coalesce(orders.order_count, 0) as order_count,
    coalesce(orders.corrected_order_count, 0) as corrected_order_count,
    1 - cast(orders.corrected_order_count as double) / nullif(orders.order_count, 0) as order_integrity_rate
from by_day
full outer join orders on orders.day_on = by_day.day_on
