-- What order risk reads. Contact keys are digests: the score counts who shares them and never sees them.
with
    attempts as (
        select order_id, status, is_successful, coalesce(processed_at, created_at) as attempted_at
        from marts.fct_transaction
        where kind in ('sale', 'authorization')
    ),

    paid as (select order_id, min(attempted_at) as first_paid_at from attempts where is_successful group by order_id),

    -- What was declined before the order was paid. A payment that is pending did not fail, and a capture or an
    -- instalment that fails weeks later was not known when the order came in.
    failures as (
        select attempts.order_id, count(*) as payment_failures_count
        from attempts
        left join paid on paid.order_id = attempts.order_id
        where
            attempts.status in ('failure', 'error')
            and (paid.first_paid_at is null or attempts.attempted_at <= paid.first_paid_at)
        group by attempts.order_id
    )

select
    orders.order_id,
    orders.customer_id,
    orders.processed_at at time zone 'UTC' as ordered_at,
    orders.total_amount,
    orders.currency_code,
    orders.source_name,
    orders.shipping_country_code,
    orders.billing_country_code,
    staged.shipping_postal_code,
    staged.billing_postal_code,
    md5(lower(trim(staged.email))) as email_key,
    orders.unit_count,
    coalesce(failures.payment_failures_count, 0) as payment_failures_count,
    orders.gift_card_amount > 0 as is_gift_card_order,
    orders.is_guest,
    orders.is_test,
    orders.is_cancelled or orders.is_deleted as is_cancelled,
    list_has_any(list_transform(orders.tags, tag -> lower(tag)), getvariable('chargeback_tags')) as is_chargeback
from marts.fct_order as orders
inner join staging.stg_storefront__orders as staged on staged.order_id = orders.order_id
left join failures on failures.order_id = orders.order_id
where orders.order_kind = 'sale'
