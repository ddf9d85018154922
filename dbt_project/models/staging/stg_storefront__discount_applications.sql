{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="{{ forget_outdated_rows('discount_applications') }}",
        post_hook="{{ note_incorporated('discount_applications') }}",
    )
}}

with
    source as ({{ latest_rows("discount_applications") }}),

    renamed as (
        select
            -- ids
            order_id,
            -- strings
            case
                discount_type
                when 'AutomaticDiscountApplication'
                then 'automatic'
                when 'DiscountCodeApplication'
                then 'code'
                when 'ManualDiscountApplication'
                then 'manual'
                when 'ScriptDiscountApplication'
                then 'script'
                else lower(discount_type)
            end as discount_type,
            code,
            title,
            lower(allocation_method) as allocation_method,
            lower(target_selection) as target_selection,
            lower(target_type) as target_type,
            case
                value_type
                when 'MoneyV2'
                then 'fixed'
                when 'PricingPercentageValue'
                then 'percentage'
                else lower(value_type)
            end as value_type,
            currency_code,
            -- numerics
            discount_index,
            value_amount,
            value_percentage,
            -- where it came from
            _source_file,
            _line,
            _loaded_at at time zone 'UTC' as _loaded_at,
            _version_at at time zone 'UTC' as _version_at,
        from source
    )

select *
from renamed
