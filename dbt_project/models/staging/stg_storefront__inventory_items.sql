{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="{{ forget_outdated_rows('inventory_items') }}",
        post_hook="{{ note_incorporated('inventory_items') }}",
    )
}}

with
    source as ({{ latest_rows("inventory_items") }}),

    renamed as (
        select
            -- ids
            inventory_item_id,
            inventory_item_gid,
            -- strings
            sku,
            origin_country_code,
            harmonized_system_code,
            currency_code,
            -- numerics
            unit_cost_amount,
            -- booleans
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
