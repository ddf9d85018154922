{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="{{ forget_outdated_rows('customer_addresses') }}",
        post_hook="{{ note_incorporated('customer_addresses') }}",
    )
}}

with
    source as ({{ latest_rows("customer_addresses") }}),

    renamed as (
        select
            -- ids
            address_id,
            customer_id,
            -- strings
            first_name,
            last_name,
            company,
            address1,
            address2,
            city,
            province_code,
            postal_code,
            country_code,
            phone,
            -- booleans
            is_default,
            -- where it came from
            _source_file,
            _line,
            _loaded_at at time zone 'UTC' as _loaded_at,
            _version_at at time zone 'UTC' as _version_at,
        from source
    )

select *
from renamed
