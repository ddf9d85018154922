with
    deliveries as (
        select
            cast(hour_at at time zone 'UTC' as date) as received_on,
            topic,
            sum(delivery_count) filter (where outcome in ('stored', 'duplicate')) as delivery_count,
            sum(delivery_count) filter (where outcome = 'stored') as stored_count,
            sum(delivery_count) filter (where outcome = 'duplicate') as duplicate_delivery_count,
            sum(delivery_count) filter (where outcome = 'rejected') as rejected_count
        from {{ source("observability", "webhook_hours") }}
        where source not in ('reconcile', 'wms')
        group by 1, 2
    ),

    events as (
        select
            cast(received_at at time zone 'UTC' as date) as received_on,
            topic,
            count(*) filter (where state = 'applied') as applied_count,
            count(*) filter (where state = 'superseded') as superseded_count,
            count(*) filter (where state = 'duplicate') as duplicate_count,
            count(*) filter (where state = 'dead') as dead_count,
            count(*) filter (where state = 'discarded') as discarded_count,
            count(*) filter (where state in ('stored', 'pending', 'batched')) as waiting_count,
            sum(attempts) as failed_try_count,
            {{ seconds_spread("drift", seconds_between("triggered_at", "received_at")) }}
        from {{ source("observability", "events") }}
        where source not in ('reconcile', 'wms')
        group by 1, 2
    )

select
    coalesce(deliveries.received_on, events.received_on) as received_on,
    coalesce(deliveries.topic, events.topic) as topic,
    cast(coalesce(deliveries.delivery_count, 0) as bigint) as delivery_count,
    cast(coalesce(deliveries.stored_count, 0) as bigint) as stored_count,
    cast(coalesce(deliveries.duplicate_delivery_count, 0) as bigint) as duplicate_delivery_count,
    cast(coalesce(deliveries.rejected_count, 0) as bigint) as rejected_count,
    cast(coalesce(deliveries.duplicate_delivery_count, 0) as double)
    / nullif(deliveries.delivery_count, 0) as retry_rate,
    coalesce(events.applied_count, 0) as applied_count,
    coalesce(events.superseded_count, 0) as superseded_count,
    coalesce(events.duplicate_count, 0) as duplicate_count,
    coalesce(events.dead_count, 0) as dead_count,
    coalesce(events.discarded_count, 0) as discarded_count,
    coalesce(events.waiting_count, 0) as waiting_count,
    cast(coalesce(events.failed_try_count, 0) as bigint) as failed_try_count,
    events.drift_p50_seconds,
    events.drift_p95_seconds,
    events.drift_p99_seconds,
    events.drift_max_seconds
from deliveries
full outer join events on events.received_on = deliveries.received_on and events.topic = deliveries.topic
