with
    sent as (
        select
            cast(coalesce(acknowledged_at, sent_at) at time zone 'UTC' as date) as sent_on,
            coalesce(tier, 2) as tier,
            outcome,
            case
                when outcome = 'acknowledged' then {{ seconds_between("taken_at", "acknowledged_at") }}
            end as sync_seconds,
            case
                when outcome = 'acknowledged' then {{ seconds_between("occurred_at", "acknowledged_at") }}
            end as change_seconds
        from {{ source("observability", "stock_syncs") }}
        where acknowledged_at is not null or sent_at is not null
    )

select
    sent_on,
    cast(tier as integer) as tier,
    count(*) as sent_count,
    count(*) filter (where outcome = 'acknowledged') as acknowledged_count,
    count(*) filter (where outcome = 'conflict') as conflict_count,
    count(*) filter (where outcome = 'refused') as refused_count,
    count(sync_seconds) as caused_by_warehouse_count,
    {{ seconds_spread("sync", "sync_seconds") }},
    {{ seconds_spread("change", "change_seconds") }}
from sent
group by sent_on, tier
