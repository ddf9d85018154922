-- Narrow on purpose: whoever needs more of an order joins it, so that an incremental fact reads only the orders it
-- builds.
with
    orders as (select order_id, currency_code from {{ ref("stg_storefront__orders") }}),

    refunds as (
        select
            order_id,
            count(*) as refund_count,
            {{ money("sum(returned_amount)") }} as returned_amount,
            {{ money("sum(returned_gift_card_amount)") }} as returned_gift_card_amount,
            {{ money("sum(returned_tax_amount)") }} as returned_tax_amount,
            {{ money("sum(refunded_amount)") }} as refunded_amount,
            min(processed_at) as first_refunded_at,
            max(processed_at) as last_refunded_at
        from {{ ref("int_refunds__with_lines") }}
        group by order_id
    )

select
    orders.order_id,
    orders.currency_code,
    coalesce(refunds.refund_count, 0) as refund_count,
    {{ money("coalesce(refunds.returned_amount, 0)") }} as returned_amount,
    {{ money("coalesce(refunds.returned_gift_card_amount, 0)") }} as returned_gift_card_amount,
    {{ money("coalesce(refunds.returned_tax_amount, 0)") }} as returned_tax_amount,
    {{ money("coalesce(refunds.refunded_amount, 0)") }} as refunded_amount,
    refunds.first_refunded_at,
    refunds.last_refunded_at
from orders
left join refunds on refunds.order_id = orders.order_id
