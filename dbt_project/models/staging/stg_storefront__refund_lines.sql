{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="{{ forget_outdated_rows('refund_lines') }}",
        post_hook="{{ note_incorporated('refund_lines') }}",
    )
}}

with
    source as ({{ latest_rows("refund_lines") }}),

    renamed as (
        select
            -- ids
            refund_line_id,
            refund_id,
            order_id,
            order_line_id,
            location_id,
            -- strings
            lower(restock_type) as restock_type,
            currency_code,
            -- numerics
            quantity,
            subtotal_amount,
            tax_amount,
            -- booleans
            is_restocked,
            -- where it came from
            _source_file,
            _line,
            _loaded_at at time zone 'UTC' as _loaded_at,
            _version_at at time zone 'UTC' as _version_at,
        from source
    )

select *
from renamed
