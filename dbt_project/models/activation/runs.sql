with
    tripped as (
        select run_id, list(gate order by gate) as tripped_gates
        from {{ source("activation", "gates") }}
        group by run_id
    )

select
    -- ids
    runs.run_id,
    runs.of_run as of_run_id,
    -- strings
    runs.requested_by,
    runs.destination,
    runs.sync,
    runs.kind,
    runs.status,
    runs.error,
    coalesce(tripped.tripped_gates, cast([] as varchar[])) as tripped_gates,
    -- counts
    runs.desired_count,
    runs.create_count,
    runs.update_count,
    runs.remove_count,
    runs.unchanged_count,
    runs.skipped_count,
    runs.succeeded_count,
    runs.failed_count,
    runs.unknown_count,
    runs.resolved_count,
    runs.request_count,
    runs.canary_count,
    runs.canary_failed_count,
    runs.canary_differing_count,
    runs.held_out_count,
    runs.no_consent_count,
    runs.point_count,
    runs.throttled_count,
    -- numerics
    runs.freshness_seconds,
    runs.writing_seconds,
    runs.points_a_second,
    runs.budget_use_rate,
    -- times
    runs.started_at at time zone 'UTC' as started_at,
    runs.finished_at at time zone 'UTC' as finished_at,
    runs.model_at at time zone 'UTC' as model_at
from {{ source("activation", "runs") }} as runs
left join tripped on tripped.run_id = runs.run_id
