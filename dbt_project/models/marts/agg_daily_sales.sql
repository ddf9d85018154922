with
    sold as (
        select
            ordered_on as sold_on,
            currency_code,
            sum(case when order_kind = 'sale' then 1 else 0 end) as order_count,
            sum(case when order_kind = 'sale' and is_first_order then 1 else 0 end) as new_customer_order_count,
            sum(
                case when order_kind = 'sale' and customer_order_number > 1 then 1 else 0 end
            ) as repeat_customer_order_count,
            sum(case when order_kind = 'sale' and is_guest then 1 else 0 end) as guest_order_count,
            count(distinct case when order_kind = 'sale' and is_first_order then customer_id end) as new_customer_count,
            count(
                distinct case when order_kind = 'sale' and customer_order_number > 1 then customer_id end
            ) as repeat_customer_count,
            sum(case when order_kind = 'sale' then unit_count else 0 end) as unit_count,
            sum(case when order_kind = 'sale' then gross_amount else 0 end) as gross_amount,
            sum(case when order_kind = 'sale' then discount_amount else 0 end) as discount_amount,
            sum(case when order_kind = 'sale' then tax_amount else 0 end) as tax_amount,
            sum(case when order_kind = 'sale' then shipping_amount else 0 end) as shipping_amount,
            sum(case when order_kind = 'sale' then tip_amount else 0 end) as tip_amount,
            sum(case when order_kind = 'sale' then gift_card_amount else 0 end) as gift_card_amount
        from {{ ref("fct_order") }}
        where is_reportable
        group by ordered_on, currency_code
    ),

    refunded as (
        select
            refunded_on as sold_on,
            currency_code,
            sum(case when order_kind = 'sale' then 1 else 0 end) as refund_count,
            sum(case when order_kind = 'credit' then 1 else 0 end) as credit_count,
            sum(case when order_kind = 'sale' then returned_quantity else 0 end) as returned_unit_count,
            sum(case when order_kind = 'sale' then returned_amount else 0 end) as returned_amount,
            sum(case when order_kind = 'sale' then returned_tax_amount else 0 end) as returned_tax_amount,
            sum(case when order_kind = 'sale' then refunded_amount else 0 end) as refunded_amount,
            sum(case when order_kind = 'credit' then refunded_amount - returned_tax_amount else 0 end) as credit_amount,
            sum(case when order_kind = 'credit' then returned_tax_amount else 0 end) as credit_tax_amount
        from {{ ref("fct_refund") }}
        where is_reportable
        group by refunded_on, currency_code
    ),

    days as (
        select sold_on, currency_code
        from sold
        union
        select sold_on, currency_code
        from refunded
    )

select
    days.sold_on,
    days.currency_code,
    -- counts
    {% for column in [
        "order_count",
        "new_customer_order_count",
        "repeat_customer_order_count",
        "guest_order_count",
        "new_customer_count",
        "repeat_customer_count",
        "unit_count",
    ] %}
        cast(coalesce(sold.{{ column }}, 0) as bigint) as {{ column }},
    {% endfor %}
    cast(coalesce(refunded.refund_count, 0) as bigint) as refund_count,
    cast(coalesce(refunded.credit_count, 0) as bigint) as credit_count,
    cast(coalesce(refunded.returned_unit_count, 0) as bigint) as returned_unit_count,
    -- amounts
    {{ money("coalesce(sold.gross_amount, 0)") }} as gross_amount,
    {{ money("coalesce(sold.discount_amount, 0)") }} as discount_amount,
    {{ money("coalesce(refunded.returned_amount, 0)") }} as returned_amount,
    {{ money("coalesce(refunded.credit_amount, 0)") }} as credit_amount,
    {{
        money(
            "coalesce(sold.gross_amount, 0) - coalesce(sold.discount_amount, 0)"
            ~ " - coalesce(refunded.returned_amount, 0) - coalesce(refunded.credit_amount, 0)"
        )
    }} as net_amount,
    {{ money("coalesce(sold.tax_amount, 0)") }} as tax_amount,
    {{ money("coalesce(refunded.returned_tax_amount, 0)") }} as returned_tax_amount,
    {{ money("coalesce(refunded.credit_tax_amount, 0)") }} as credit_tax_amount,
    {{ money("coalesce(sold.shipping_amount, 0)") }} as shipping_amount,
    {{ money("coalesce(sold.tip_amount, 0)") }} as tip_amount,
    {{ money("coalesce(sold.gift_card_amount, 0)") }} as gift_card_amount,
    {{ money("coalesce(refunded.refunded_amount, 0)") }} as refunded_amount
from days
left join sold on sold.sold_on = days.sold_on and sold.currency_code = days.currency_code
left join refunded on refunded.sold_on = days.sold_on and refunded.currency_code = days.currency_code
