{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="{{ forget_outdated_rows('swept_ids') }}",
        post_hook="{{ note_incorporated('swept_ids') }}",
    )
}}

with
    source as ({{ latest_rows("swept_ids") }}),

    renamed as (
        select
            -- ids
            object_id,
            -- strings
            object_type,
            -- timestamps
            swept_at at time zone 'UTC' as swept_at,
            -- where it came from
            _source_file,
            _line,
            _loaded_at at time zone 'UTC' as _loaded_at,
            _version_at at time zone 'UTC' as _version_at,
        from source
    )

select *
from renamed
