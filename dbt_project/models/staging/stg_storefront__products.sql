{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="{{ forget_outdated_rows('products') }}",
        post_hook="{{ note_incorporated('products') }}",
    )
}}

with
    source as ({{ latest_rows("products") }}),

    renamed as (
        select
            -- ids
            product_id,
            product_gid,
            -- strings
            title,
            handle,
            vendor,
            product_type,
            lower(status) as status,
            tags,
            -- booleans
            is_gift_card,
            is_deleted,
            -- timestamps
            created_at at time zone 'UTC' as created_at,
            updated_at at time zone 'UTC' as updated_at,
            published_at at time zone 'UTC' as published_at,
            deletion_seen_at at time zone 'UTC' as deletion_seen_at,
            -- where it came from
            _source_file,
            _line,
            _loaded_at at time zone 'UTC' as _loaded_at,
            _version_at at time zone 'UTC' as _version_at,
        from source
    )

select *
from renamed
