-- The days' sums, derived again from staging without the facts, by currency.
with
    counted as (
        select order_id, currency_code, is_taxes_included
        from {{ ref("stg_storefront__orders") }}
        where
            not is_test
            and cancelled_at is null
            and not is_deleted
            and coalesce(source_name, '') <> '{{ var("credit_source_name") }}'
    ),

    lines as (
        select
            counted.currency_code,
            sum(
                lines.gross_amount - case when counted.is_taxes_included then lines.tax_amount else 0 end
            ) as gross_amount,
            sum(lines.discount_amount) as discount_amount
        from counted
        inner join {{ ref("stg_storefront__order_lines") }} as lines on lines.order_id = counted.order_id
        where not lines.is_gift_card
        group by counted.currency_code
    ),

    returned as (
        select counted.currency_code, sum(refund_lines.subtotal_amount) as returned_amount
        from counted
        inner join {{ ref("stg_storefront__refund_lines") }} as refund_lines on refund_lines.order_id = counted.order_id
        left join {{ ref("stg_storefront__order_lines") }} as lines on lines.order_line_id = refund_lines.order_line_id
        where not coalesce(lines.is_gift_card, false)
        group by counted.currency_code
    ),

    orders as (select currency_code, count(*) as order_count from counted group by currency_code),

    daily as (
        select
            currency_code,
            sum(order_count) as order_count,
            sum(gross_amount) as gross_amount,
            sum(discount_amount) as discount_amount,
            sum(returned_amount) as returned_amount,
            sum(net_amount + credit_amount) as net_amount
        from {{ ref("agg_daily_sales") }}
        group by currency_code
    )

select *
from orders
left join lines on lines.currency_code = orders.currency_code
left join returned on returned.currency_code = orders.currency_code
left join daily on daily.currency_code = orders.currency_code
where
    daily.order_count is distinct from orders.order_count
    or daily.gross_amount is distinct from coalesce(lines.gross_amount, 0)
    or daily.discount_amount is distinct from coalesce(lines.discount_amount, 0)
    or daily.returned_amount is distinct from coalesce(returned.returned_amount, 0)
    or daily.net_amount is distinct from (
        coalesce(lines.gross_amount, 0) - coalesce(lines.discount_amount, 0) - coalesce(returned.returned_amount, 0)
    )
