{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="{{ forget_outdated_rows('fulfillments') }}",
        post_hook="{{ note_incorporated('fulfillments') }}",
    )
}}

with
    source as ({{ latest_rows("fulfillments") }}),

    renamed as (
        select
            -- ids
            fulfillment_id,
            order_id,
            location_id,
            -- strings
            fulfillment_name,
            lower(status) as status,
            lower(display_status) as display_status,
            -- numerics
            quantity,
            -- timestamps
            created_at at time zone 'UTC' as created_at,
            updated_at at time zone 'UTC' as updated_at,
            in_transit_at at time zone 'UTC' as in_transit_at,
            delivered_at at time zone 'UTC' as delivered_at,
            -- where it came from
            _source_file,
            _line,
            _loaded_at at time zone 'UTC' as _loaded_at,
            _version_at at time zone 'UTC' as _version_at,
        from source
    )

select *
from renamed
