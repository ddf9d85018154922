with
    customers as (select * from {{ ref("stg_storefront__customers") }}),

    addresses as (select * from {{ ref("stg_storefront__customer_addresses") }}),

    consents as (
        select
            customer_id,
            max(case when channel = 'email' then consent_state end) as email_consent_state,
            max(case when channel = 'sms' then consent_state end) as sms_consent_state
        from {{ ref("stg_storefront__customer_consents") }}
        group by customer_id
    )

select
    -- ids
    customers.customer_id,
    customers.customer_gid,
    -- strings
    customers.first_name,
    customers.last_name,
    customers.email,
    customers.phone,
    customers.state,
    customers.locale,
    customers.note,
    customers.tags,
    addresses.city,
    addresses.province_code,
    addresses.postal_code,
    addresses.country_code,
    consents.email_consent_state,
    consents.sms_consent_state,
    customers.currency_code,
    -- numbers
    customers.storefront_order_count,
    customers.storefront_spent_amount,
    -- booleans
    customers.is_tax_exempt,
    customers.is_email_verified,
    coalesce(consents.email_consent_state = 'subscribed', false) as is_email_subscribed,
    coalesce(consents.sms_consent_state = 'subscribed', false) as is_sms_subscribed,
    customers.is_deleted,
    -- times
    customers.created_at,
    customers.updated_at,
    customers.deletion_seen_at,
    -- where it came from
    customers._source_file,
    customers._line,
    customers._loaded_at
from customers
left join addresses on addresses.address_id = customers.default_address_id
left join consents on consents.customer_id = customers.customer_id
