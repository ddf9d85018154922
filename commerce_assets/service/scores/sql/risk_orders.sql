-- What order risk reads. Contact keys are digests: the score counts who shares them and never sees them.
with
    failures as (
        select order_id, count(*) as payment_failures_count
        from marts.fct_transaction
        where not is_successful and kind in ('sale', 'authorization', 'capture')
        group by order_id
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
