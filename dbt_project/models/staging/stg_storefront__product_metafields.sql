{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="{{ forget_outdated_rows('product_metafields') }}",
        post_hook="{{ note_incorporated('product_metafields') }}",
    )
}}

with
    source as ({{ latest_rows("product_metafields") }}),

    renamed as (
        select
            -- ids
            metafield_id,
            product_id,
            -- strings
            namespace,
            key,
            type,
            value,
            -- timestamps
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
