{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="{{ forget_outdated_rows('fulfillment_lines') }}",
        post_hook="{{ note_incorporated('fulfillment_lines') }}",
    )
}}

with
    source as ({{ latest_rows("fulfillment_lines") }}),

    renamed as (
        select
            -- ids
            fulfillment_id,
            order_id,
            order_line_id,
            fulfillment_line_id,
            -- numerics
            quantity,
            -- booleans
            is_derived,
            -- where it came from
            _source_file,
            _line,
            _loaded_at at time zone 'UTC' as _loaded_at,
            _version_at at time zone 'UTC' as _version_at,
        from source
    )

select *
from renamed
