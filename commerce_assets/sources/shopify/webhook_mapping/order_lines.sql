with
    listed as (
        select _line, id, unnest("order".line_items) as line, generate_subscripts("order".line_items, 1) as _ordinal
        from envelope
        where len("order".line_items) > 0
    )
select
    _line,
    _ordinal,
    id_of(line.admin_graphql_api_id, line.id, 'LineItem') as order_line_id,
    gid(id, 'Order') as order_id,
    key(line.product_id) as product_id,
    key(line.variant_id) as variant_id,
    line.sku as sku,
    line.title as title,
    nullif(line.variant_title, '') as variant_title,
    line.vendor as vendor,
    whole(line.quantity) as quantity,
    whole(line.current_quantity) as current_quantity,
    money(line.price_set.shop_money.amount) as unit_price_amount,
    product_of(line.price_set.shop_money.amount, line.quantity) as gross_amount,
    sum_of([money(a.amount_set.shop_money.amount) for a in coalesce(line.discount_allocations, [])]) as discount_amount,
    sum_of([money(t.price_set.shop_money.amount) for t in coalesce(line.tax_lines, [])]) as tax_amount,
    currency(line.price_set.shop_money.currency_code) as currency_code,
    truth(line.gift_card) as is_gift_card,
    truth(line.requires_shipping) as is_shippable,
    truth(line.taxable) as is_taxable,
    lost(line.product_id, product_id) or lost(line.variant_id, variant_id) as _suspect
from listed
