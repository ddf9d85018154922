{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="{{ forget_outdated_rows('transactions') }}",
        post_hook="{{ note_incorporated('transactions') }}",
    )
}}

with
    source as ({{ latest_rows("transactions") }}),

    renamed as (
        select
            -- ids
            transaction_id,
            order_id,
            parent_transaction_id,
            -- strings
            lower(kind) as kind,
            lower(status) as status,
            gateway,
            lower(error_code) as error_code,
            currency_code,
            -- numerics
            amount,
            -- booleans
            is_test,
            -- timestamps
            created_at at time zone 'UTC' as created_at,
            processed_at at time zone 'UTC' as processed_at,
            -- where it came from
            _source_file,
            _line,
            _loaded_at at time zone 'UTC' as _loaded_at,
            _version_at at time zone 'UTC' as _version_at,
        from source
    )

select *
from renamed
