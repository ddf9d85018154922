{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="{{ forget_outdated_rows('customers') }}",
        post_hook="{{ note_incorporated('customers') }}",
    )
}}

with
    source as ({{ latest_rows("customers") }}),

    renamed as (
        select
            -- ids
            customer_id,
            customer_gid,
            default_address_id,
            -- strings
            first_name,
            last_name,
            email,
            phone,
            lower(state) as state,
            locale,
            note,
            tags,
            currency_code,
            -- numerics
            storefront_order_count,
            storefront_spent_amount,
            -- booleans
            is_tax_exempt,
            is_email_verified,
            is_deleted,
            -- timestamps
            created_at at time zone 'UTC' as created_at,
            updated_at at time zone 'UTC' as updated_at,
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
