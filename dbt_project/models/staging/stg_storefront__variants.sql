{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="{{ forget_outdated_rows('variants') }}",
        post_hook="{{ note_incorporated('variants') }}",
    )
}}

with
    source as ({{ latest_rows("variants") }}),

    renamed as (
        select
            -- ids
            variant_id,
            variant_gid,
            product_id,
            inventory_item_id,
            -- strings
            title,
            sku,
            barcode,
            unit_cost_currency_code,
            lower(inventory_policy) as inventory_policy,
            option_values,
            -- numerics
            position,
            price_amount,
            compare_at_amount,
            unit_cost_amount,
            inventory_quantity,
            -- booleans
            is_taxable,
            is_tracked,
            is_shippable,
            -- timestamps
            created_at at time zone 'UTC' as created_at,
            updated_at at time zone 'UTC' as updated_at,
            -- where it came from
            _source_file,
            _line,
            _loaded_at at time zone 'UTC' as _loaded_at,
            _version_at at time zone 'UTC' as _version_at,
        from source
    )

select *
from renamed
