-- An event is in the backlog from when it was stored until it came to its end; a dead letter is no backlog.
with
    copied as (select max(taken_at) as taken_at from {{ source("observability", "snapshots") }} where name = 'events'),

    events as (
        select
            lane,
            stored_at,
            case
                when state in ('stored', 'pending', 'batched') then null else coalesce(finished_at, decided_at)
            end as done_at
        from {{ source("observability", "events") }}
    ),

    changes as (
        select lane, stored_at as changed_at, 1 as change
        from events
        union all
        select lane, done_at, -1
        from events
        where done_at is not null
    ),

    depths as (
        select
            lane,
            changed_at,
            sum(change) over (partition by lane order by changed_at range unbounded preceding) as depth
        from changes
    ),

    hourly as (
        select
            lane,
            date_trunc('hour', changed_at) as hour_at,
            max(depth) as depth_max_count,
            arg_max(depth, changed_at) as depth_end_count
        from depths
        group by 1, 2
    ),

    waits as (
        select
            lane,
            date_trunc('hour', coalesce(done_at, copied.taken_at)) as hour_at,
            count(done_at) as finished_count,
            count(*) filter (where done_at is null) as open_count,
            max({{ seconds_between("stored_at", "coalesce(done_at, copied.taken_at)") }}) as age_max_seconds,
            quantile_cont(
                {{ seconds_between("stored_at", "coalesce(done_at, copied.taken_at)") }}, 0.95
            ) as age_p95_seconds
        from events
        cross join copied
        group by 1, 2
    )

select
    coalesce(hourly.hour_at, waits.hour_at) at time zone 'UTC' as hour_at,
    coalesce(hourly.lane, waits.lane) as lane,
    cast(coalesce(hourly.depth_max_count, waits.open_count) as bigint) as depth_max_count,
    cast(coalesce(hourly.depth_end_count, waits.open_count) as bigint) as depth_end_count,
    coalesce(waits.finished_count, 0) as finished_count,
    waits.age_p95_seconds,
    waits.age_max_seconds
from hourly
full outer join waits on waits.lane = hourly.lane and waits.hour_at = hourly.hour_at
