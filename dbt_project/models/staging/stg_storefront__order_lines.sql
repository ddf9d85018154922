{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="{{ forget_outdated_rows('order_lines') }}",
        post_hook="{{ note_incorporated('order_lines') }}",
    )
}}

with
    source as ({{ latest_rows("order_lines") }}),

    renamed as (
        select
            -- ids
            order_line_id,
            order_id,
            product_id,
            variant_id,
            -- strings
            sku,
            title,
            variant_title,
            vendor,
            currency_code,
            -- numerics
            quantity,
            current_quantity,
            unit_price_amount,
            gross_amount,
            discount_amount,
            tax_amount,
            -- booleans
            is_gift_card,
            is_shippable,
            is_taxable,
            -- where it came from
            _source_file,
            _line,
            _loaded_at at time zone 'UTC' as _loaded_at,
            _version_at at time zone 'UTC' as _version_at,
        from source
    )

select *
from renamed
