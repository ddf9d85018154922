{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="{{ forget_outdated_rows('shipping_lines') }}",
        post_hook="{{ note_incorporated('shipping_lines') }}",
    )
}}

with
    source as ({{ latest_rows("shipping_lines") }}),

    renamed as (
        select
            -- ids
            shipping_line_id,
            order_id,
            -- strings
            title,
            code,
            source,
            currency_code,
            -- numerics
            gross_amount,
            net_amount,
            tax_amount,
            -- where it came from
            _source_file,
            _line,
            _loaded_at at time zone 'UTC' as _loaded_at,
            _version_at at time zone 'UTC' as _version_at,
        from source
    )

select *
from renamed
