{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="{{ forget_outdated_rows('locations') }}",
        post_hook="{{ note_incorporated('locations') }}",
    )
}}

with
    source as ({{ latest_rows("locations") }}),

    renamed as (
        select
            -- ids
            location_id,
            location_gid,
            -- strings
            location_name,
            city,
            province_code,
            postal_code,
            country_code,
            -- booleans
            is_active,
            is_fulfilling_online,
            is_shipping,
            -- timestamps
            created_at at time zone 'UTC' as created_at,
            updated_at at time zone 'UTC' as updated_at,
            deactivated_at at time zone 'UTC' as deactivated_at,
            -- where it came from
            _source_file,
            _line,
            _loaded_at at time zone 'UTC' as _loaded_at,
            _version_at at time zone 'UTC' as _version_at,
        from source
    )

select *
from renamed
