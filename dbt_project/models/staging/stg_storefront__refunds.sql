{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="{{ forget_outdated_rows('refunds') }}",
        post_hook="{{ note_incorporated('refunds') }}",
    )
}}

with
    source as ({{ latest_rows("refunds") }}),

    renamed as (
        select
            -- ids
            refund_id,
            order_id,
            -- strings
            note,
            currency_code,
            -- numerics
            refunded_amount,
            -- timestamps
            created_at at time zone 'UTC' as created_at,
            processed_at at time zone 'UTC' as processed_at,
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
