{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="{{ forget_outdated_rows('product_media') }}",
        post_hook="{{ note_incorporated('product_media') }}",
    )
}}

with
    source as ({{ latest_rows("product_media") }}),

    renamed as (
        select
            -- ids
            media_id,
            product_id,
            -- strings
            lower(media_type) as media_type,
            lower(status) as status,
            alt,
            -- where it came from
            _source_file,
            _line,
            _loaded_at at time zone 'UTC' as _loaded_at,
            _version_at at time zone 'UTC' as _version_at,
        from source
    )

select *
from renamed
