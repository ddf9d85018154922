with
    lines as (select * from {{ ref("stg_storefront__order_lines") }}),

    orders as (select * from {{ ref("stg_storefront__orders") }}),

    returned as (
        select
            order_id,
            order_line_id,
            sum(quantity) as returned_quantity,
            {{ money("sum(subtotal_amount)") }} as returned_amount,
            {{ money("sum(tax_amount)") }} as returned_tax_amount
        from {{ ref("stg_storefront__refund_lines") }}
        group by order_id, order_line_id
    ),

    -- What the line was charged without the tax that its price may include: everything below builds on it.
    priced as (
        select
            lines.*,
            orders.customer_id,
            orders.processed_at,
            orders.is_deleted,
            {{ money("lines.gross_amount - case when orders.is_taxes_included then lines.tax_amount else 0 end") }}
            as untaxed_gross_amount
        from lines
        inner join orders on orders.order_id = lines.order_id
    )

select
    priced.order_line_id,
    priced.order_id,
    priced.customer_id,
    priced.product_id,
    priced.variant_id,
    priced.sku,
    priced.title,
    priced.variant_title,
    priced.vendor,
    priced.currency_code,
    priced.quantity,
    priced.current_quantity,
    coalesce(returned.returned_quantity, 0) as returned_quantity,
    priced.unit_price_amount,
    {{ money("case when priced.is_gift_card then 0 else priced.untaxed_gross_amount end") }} as gross_amount,
    {{ money("case when priced.is_gift_card then 0 else priced.discount_amount end") }} as discount_amount,
    {{ money("case when priced.is_gift_card then 0 else priced.untaxed_gross_amount - priced.discount_amount end") }}
    as sales_amount,
    {{ money("case when priced.is_gift_card then 0 else coalesce(returned.returned_amount, 0) end") }}
    as returned_amount,
    {{ money("case when priced.is_gift_card then priced.untaxed_gross_amount - priced.discount_amount else 0 end") }}
    as gift_card_amount,
    {{ money("case when priced.is_gift_card then coalesce(returned.returned_amount, 0) else 0 end") }}
    as returned_gift_card_amount,
    priced.tax_amount,
    {{ money("coalesce(returned.returned_tax_amount, 0)") }} as returned_tax_amount,
    priced.is_gift_card,
    priced.is_shippable,
    priced.is_taxable,
    priced.is_deleted,
    priced.processed_at,
    priced._source_file,
    priced._line,
    priced._loaded_at
from priced
left join returned on returned.order_line_id = priced.order_line_id and returned.order_id = priced.order_id
