with
    -- A record may be written though no field differs (what is carried along does): it has one row, without a field.
    fields as (
        select
            *,
            unnest(
                case when changed_fields = '' then [cast(null as varchar)] else string_split(changed_fields, ',') end
            ) as field_name
        from {{ source("activation", "changes") }}
    )

select
    -- ids
    run_id,
    record_key,
    {{ product_of_key("record_key") }} as product_id,
    -- strings
    destination,
    sync,
    operation,
    field_name,
    old_fingerprint,
    new_fingerprint,
    coalesce(outcome, 'open') as outcome,
    reason,
    -- counts
    attempt,
    -- times
    intended_at at time zone 'UTC' as intended_at,
    resolved_at at time zone 'UTC' as resolved_at
from fields
