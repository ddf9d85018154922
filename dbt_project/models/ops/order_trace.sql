with
    recent_since as (
        select cast(now() at time zone 'UTC' as timestamp) - interval '{{ var("trace_days") }} days' as since_at
    ),

    -- The newest version of an order that lies in the lake, staged or not.
    landed as (
        select
            order_id,
            arg_max(order_gid, (_version_at, _loaded_at)) as order_gid,
            arg_max(order_name, (_version_at, _loaded_at)) as order_name,
            arg_max(customer_id, (_version_at, _loaded_at)) as customer_id,
            arg_max(partition, (_version_at, _loaded_at)) as lake_partition,
            arg_max(_source_file, (_version_at, _loaded_at)) as source_file,
            arg_max(_line, (_version_at, _loaded_at)) as line,
            max(_version_at) at time zone 'UTC' as version_at,
            arg_max(_loaded_at, (_version_at, _loaded_at)) at time zone 'UTC' as loaded_at
        from {{ source("storefront", "orders") }}
        where _version_at >= (select since_at at time zone 'UTC' from recent_since)
        group by order_id
    ),

    events as (
        select
            object_id as order_id,
            seq,
            webhook_id,
            topic,
            state,
            reason,
            triggered_at at time zone 'UTC' as triggered_at,
            received_at at time zone 'UTC' as received_at,
            stored_at at time zone 'UTC' as stored_at,
            decided_at at time zone 'UTC' as decided_at,
            landed_at at time zone 'UTC' as landed_at,
            batch_id,
            source_file,
            line,
            state in ('stored', 'pending', 'batched', 'dead') as is_stuck,
            count(*) over (partition by object_id) as event_count
        from {{ source("observability", "events") }}
        where object_type = 'Order' and object_id is not null
    ),

    -- The event to follow: the oldest that has not come to its end, else the newest that was applied.
    followed as (
        select *
        from events
        where is_stuck or state = 'applied'
        qualify
            row_number() over (
                partition by order_id
                order by
                    is_stuck desc, case when is_stuck then seq end, coalesce(triggered_at, received_at) desc, seq desc
            )
            = 1
    ),

    refused as (
        select
            root_id as order_id,
            max(loaded_at) at time zone 'UTC' as refused_at,
            bool_or(table_name = 'orders') as is_order_refused,
            list_sort(list_distinct(flatten(list(failed_rules)))) as failed_rules,
            arg_max(source_file, loaded_at) as source_file,
            arg_max(line, loaded_at) as line
        from {{ source("observability", "refused_rows") }}
        where
            root_id is not null
            and table_name in ({{ "'" ~ order_tables() | join("', '") ~ "'" }})
            and loaded_at >= (select since_at at time zone 'UTC' from recent_since)
        group by root_id
    ),

    known as (
        select order_id
        from landed
        union
        select order_id
        from followed
        union
        select order_id
        from refused
        where is_order_refused
    ),

    first_publishes as (
        select builds.order_id, publishes.version as published_version, publishes.published_at
        from {{ ref("order_builds") }} as builds
        asof inner join
            (
                select version, published_at at time zone 'UTC' as published_at
                from {{ source("observability", "publishes") }}
            ) as publishes
            on builds.built_at <= publishes.published_at
    ),

    scores as (
        select customer_id, max(scored_at) at time zone 'UTC' as scored_at
        from {{ source("observability", "customer_scores") }}
        group by customer_id
    ),

    pushes as (
        select
            customer_id,
            max(intended_at) at time zone 'UTC' as intended_at,
            arg_max(outcome, intended_at) as outcome,
            arg_max(changed_fields, intended_at) as changed_fields,
            arg_max(resolved_at, intended_at) at time zone 'UTC' as resolved_at
        from {{ source("observability", "pushes") }}
        group by customer_id
    ),

    last_push_run as (
        select max(started_at) at time zone 'UTC' as started_at, max(finished_at) at time zone 'UTC' as finished_at
        from {{ source("observability", "push_runs") }}
        where status in ('succeeded', 'partial')
    ),

    joined as (
        select
            known.order_id,
            coalesce(landed.order_gid, 'gid://shopify/Order/' || known.order_id) as order_gid,
            landed.order_name,
            landed.customer_id,
            -- What the storefront changed after the newest event, a pull brought.
            followed.order_id is not null
            and not coalesce(
                not followed.is_stuck and landed.version_at > coalesce(followed.triggered_at, followed.received_at),
                false
            ) as is_by_events,
            landed.version_at,
            landed.lake_partition,
            landed.loaded_at,
            followed.* exclude (order_id, source_file, line),
            coalesce(followed.source_file, landed.source_file, refused.source_file) as source_file,
            case
                when followed.source_file is not null
                then followed.line
                when landed.source_file is not null
                then landed.line
                else refused.line
            end as line,
            -- What is in quarantine is told of only while nothing newer landed.
            case
                when refused.refused_at is null or refused.refused_at < landed.loaded_at
                then 'accepted'
                when refused.is_order_refused
                then 'quarantined'
                else 'partial'
            end as quarantine_outcome,
            case
                when refused.refused_at >= coalesce(landed.loaded_at, refused.refused_at) then refused.failed_rules
            end as failed_rules,
            refused.refused_at,
            staged._version_at >= landed.version_at as is_staged,
            facts.updated_at >= landed.version_at as is_in_marts,
            facts.is_reportable,
            builds.built_at,
            builds.build_id,
            coalesce(builds.is_backfilled, false) as is_backfilled,
            first_publishes.published_version,
            first_publishes.published_at,
            scores.scored_at,
            pushes.intended_at as push_intended_at,
            pushes.outcome as push_outcome,
            pushes.changed_fields as push_fields,
            pushes.resolved_at as push_resolved_at,
            last_push_run.started_at as compared_at,
            last_push_run.finished_at as compared_until
        from known
        left join landed on landed.order_id = known.order_id
        left join followed on followed.order_id = known.order_id
        left join refused on refused.order_id = known.order_id
        left join {{ ref("stg_storefront__orders") }} as staged on staged.order_id = known.order_id
        left join {{ ref("fct_order") }} as facts on facts.order_id = known.order_id
        left join {{ ref("order_builds") }} as builds on builds.order_id = known.order_id
        left join first_publishes on first_publishes.order_id = known.order_id
        left join scores on scores.customer_id = landed.customer_id
        left join pushes on pushes.customer_id = landed.customer_id
        cross join last_push_run
    ),

    hops as (
        select
            *,
            case
                when not is_by_events
                then quarantine_outcome
                when state = 'dead'
                then 'dead'
                when state in ('stored', 'pending')
                then 'waiting'
                else quarantine_outcome
            end as validation,
            case
                when version_at is null or coalesce(is_by_events and is_stuck, false)
                then null
                when is_by_events
                then coalesce(landed_at, loaded_at)
                else loaded_at
            end as landed_or_loaded_at,
            case when is_in_marts and not coalesce(is_by_events and is_stuck, false) then built_at end as in_marts_at,
            -- Since when a score has heard of it. A build that found it there already does not say when it came.
            case
                when not is_in_marts or coalesce(is_by_events and is_stuck, false)
                then null
                when is_backfilled
                then loaded_at
                else built_at
            end as effective_at
        from joined
    ),

    stops as (
        select
            *,
            case when in_marts_at is not null then published_at end as first_published_at,
            case when scored_at >= effective_at then scored_at end as scored_after_at,
            case
                when scored_at is null or effective_at is null or scored_at < effective_at
                then null
                when push_intended_at >= scored_at
                then coalesce(push_outcome, 'open')
                when compared_at >= scored_at
                then 'unchanged'
            end as pushed_outcome,
            coalesce(customer_id is null or (scored_at is null and not is_reportable), false) as is_without_score
        from hops
    ),

    -- Scores and pushes follow the marts, and the publish of this table: an order is not stopped before it is its turn.
    fresh as (
        select
            cast(now() at time zone 'UTC' as timestamp)
            - interval '{{ var("trace_grace_minutes") }} minutes' as since_at
    ),

    judged as (
        select
            *,
            case
                when validation in ('dead', 'quarantined', 'waiting')
                then 'validated'
                when landed_or_loaded_at is null
                then 'landed'
                when not coalesce(is_staged, false)
                then 'staged'
                when in_marts_at is null
                then 'in_marts'
                when is_without_score
                then null
                when scored_after_at is null
                then case when in_marts_at < fresh.since_at then 'scored' end
                when pushed_outcome is null
                then case when scored_after_at < fresh.since_at then 'pushed' end
                when pushed_outcome not in ('succeeded', 'unchanged')
                then 'pushed'
            end as stopped_at
        from stops
        cross join fresh
    )

select
    -- ids
    order_id,
    order_gid,
    order_name,
    customer_id,
    -- strings
    case when is_by_events then 'events' else 'pull' end as way,
    case when is_by_events then topic end as topic,
    case when is_by_events then webhook_id end as webhook_id,
    case when is_by_events then state end as event_state,
    case when is_by_events then reason end as reason,
    validation,
    failed_rules,
    lake_partition,
    source_file,
    line,
    case when in_marts_at is not null then build_id end as build_id,
    case when in_marts_at is not null then published_version end as published_version,
    pushed_outcome as push_outcome,
    case when pushed_outcome in ('succeeded', 'failed') then push_fields end as pushed_fields,
    stopped_at,
    case
        when validation = 'dead'
        then 'commerce dlq replay --object gid://shopify/Order/' || order_id
        when validation = 'quarantined'
        then 'commerce quarantine replay --family orders'
        when stopped_at in ('validated', 'landed')
        then case when is_by_events then 'commerce worker --once' else 'commerce demo' end
        when stopped_at = 'pushed'
        then 'commerce sync'
        when stopped_at is not null
        then 'commerce demo'
    end as next_command,
    -- counts
    coalesce(event_count, 0) as event_count,
    -- booleans
    coalesce(is_staged, false) as is_staged,
    is_backfilled,
    -- times
    version_at,
    case when is_by_events then triggered_at else version_at end as emitted_at,
    case when is_by_events then received_at else coalesce(loaded_at, refused_at) end as received_at,
    case when is_by_events then stored_at else coalesce(loaded_at, refused_at) end as stored_at,
    case
        when validation = 'quarantined'
        then refused_at
        when validation <> 'waiting'
        then case when is_by_events then decided_at else loaded_at end
    end as validated_at,
    landed_or_loaded_at as landed_at,
    in_marts_at,
    first_published_at as published_at,
    scored_after_at as scored_at,
    case
        when pushed_outcome = 'unchanged' then compared_until when pushed_outcome = 'succeeded' then push_resolved_at
    end as pushed_at,
    -- seconds, of what came by events
    case when is_by_events then {{ seconds_between("triggered_at", "received_at") }} end as receive_seconds,
    case when is_by_events then {{ seconds_between("received_at", "landed_or_loaded_at") }} end as land_seconds,
    case
        when is_by_events and not is_backfilled then {{ seconds_between("landed_or_loaded_at", "in_marts_at") }}
    end as mart_seconds,
    case
        when is_by_events and not is_backfilled then {{ seconds_between("in_marts_at", "first_published_at") }}
    end as publish_seconds,
    case
        when is_by_events and not is_backfilled then {{ seconds_between("triggered_at", "first_published_at") }}
    end as propagation_seconds
from judged
