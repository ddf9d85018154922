{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="{{ forget_outdated_rows('customer_consents') }}",
        post_hook="{{ note_incorporated('customer_consents') }}",
    )
}}

with
    source as ({{ latest_rows("customer_consents") }}),

    renamed as (
        select
            -- ids
            customer_id,
            -- strings
            channel,
            lower(consent_state) as consent_state,
            lower(opt_in_level) as opt_in_level,
            -- timestamps
            consent_updated_at at time zone 'UTC' as consent_updated_at,
            -- where it came from
            _source_file,
            _line,
            _loaded_at at time zone 'UTC' as _loaded_at,
            _version_at at time zone 'UTC' as _version_at,
        from source
    )

select *
from renamed
