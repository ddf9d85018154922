-- Every amount of an order is the sum of its lines', and no line is without its order.
with
    lines as (
        select
            order_id,
            count(*) as line_count,
            sum(gross_amount) as gross_amount,
            sum(discount_amount) as discount_amount,
            sum(sales_amount) as sales_amount,
            sum(gift_card_amount) as gift_card_amount
        from {{ ref("fct_order_line") }}
        group by order_id
    )

select coalesce(orders.order_id, lines.order_id) as order_id
from {{ ref("fct_order") }} as orders
full outer join lines on lines.order_id = orders.order_id
where
    orders.order_id is null
    or orders.line_count <> coalesce(lines.line_count, 0)
    or orders.gross_amount <> coalesce(lines.gross_amount, 0)
    or orders.discount_amount <> coalesce(lines.discount_amount, 0)
    or orders.sales_amount <> coalesce(lines.sales_amount, 0)
    or orders.gift_card_amount <> coalesce(lines.gift_card_amount, 0)
