{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="{{ forget_outdated_rows('deleted_ids') }}",
        post_hook="{{ note_incorporated('deleted_ids') }}",
    )
}}

with
    source as ({{ latest_rows("deleted_ids") }}),

    renamed as (
        select
            -- ids
            object_id,
            -- strings
            object_type,
            -- timestamps
            deleted_at at time zone 'UTC' as deleted_at,
            -- where it came from
            _source_file,
            _line,
            _loaded_at at time zone 'UTC' as _loaded_at,
            _version_at at time zone 'UTC' as _version_at,
        from source
    )

select *
from renamed
