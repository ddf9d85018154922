{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="{{ forget_outdated_rows('inventory_levels') }}",
        post_hook="{{ note_incorporated('inventory_levels') }}",
    )
}}

with
    source as ({{ latest_rows("inventory_levels") }}),

    renamed as (
        select
            -- ids
            inventory_level_gid,
            inventory_item_id,
            location_id,
            -- numerics
            available_quantity,
            on_hand_quantity,
            committed_quantity,
            incoming_quantity,
            reserved_quantity,
            -- booleans
            is_active,
            -- timestamps
            snapshot_on,
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
