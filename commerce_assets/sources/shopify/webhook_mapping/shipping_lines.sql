with
    listed as (
        select
            _line,
            id,
            unnest("order".shipping_lines) as line,
            generate_subscripts("order".shipping_lines, 1) as _ordinal
        from envelope
        where len("order".shipping_lines) > 0
    )
select
    _line,
    _ordinal,
    id_of(line.admin_graphql_api_id, line.id, 'ShippingLine') as shipping_line_id,
    gid(id, 'Order') as order_id,
    line.title as title,
    line.code as code,
    line.source as source,
    money(line.price_set.shop_money.amount) as gross_amount,
    money(line.discounted_price_set.shop_money.amount) as net_amount,
    sum_of([money(t.price_set.shop_money.amount) for t in coalesce(line.tax_lines, [])]) as tax_amount,
    currency(line.price_set.shop_money.currency_code) as currency_code,
    false as _suspect
from listed
where line.is_removed is distinct from 'true'
