{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="{{ forget_outdated_rows('orders') }}",
        post_hook="{{ note_incorporated('orders') }}",
    )
}}

with
    source as ({{ latest_rows("orders") }}),

    renamed as (
        select
            -- ids
            order_id,
            order_gid,
            customer_id,
            company_id,
            -- strings
            order_name,
            lower(cancel_reason) as cancel_reason,
            company_name,
            email,
            note,
            tags,
            source_name,
            currency_code,
            presentment_currency_code,
            lower(financial_status) as financial_status,
            lower(fulfillment_status) as fulfillment_status,
            shipping_city,
            shipping_province_code,
            shipping_postal_code,
            shipping_country_code,
            billing_postal_code,
            billing_country_code,
            -- numerics
            line_quantity,
            subtotal_amount,
            discount_amount,
            tax_amount,
            shipping_amount,
            tip_amount,
            total_amount,
            presentment_total_amount,
            current_total_amount,
            received_amount,
            refunded_amount,
            -- booleans
            is_test,
            is_confirmed,
            is_taxes_included,
            is_deleted,
            -- timestamps
            created_at at time zone 'UTC' as created_at,
            processed_at at time zone 'UTC' as processed_at,
            updated_at at time zone 'UTC' as updated_at,
            cancelled_at at time zone 'UTC' as cancelled_at,
            closed_at at time zone 'UTC' as closed_at,
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
