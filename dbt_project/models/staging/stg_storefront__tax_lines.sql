{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="{{ forget_outdated_rows('tax_lines') }}",
        post_hook="{{ note_incorporated('tax_lines') }}",
    )
}}

with
    source as ({{ latest_rows("tax_lines") }}),

    renamed as (
        select
            -- ids
            order_id,
            owner_id,
            -- strings
            owner_type,
            title,
            currency_code,
            -- numerics
            tax_index,
            rate,
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
