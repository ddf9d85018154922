with
    lines as (
        select _line, id, unnest("order".line_items) as line, generate_subscripts("order".line_items, 1) as position
        from envelope
        where len("order".line_items) > 0
    ),
    shipping as (
        select
            _line,
            id,
            unnest("order".shipping_lines) as line,
            generate_subscripts("order".shipping_lines, 1) as position
        from envelope
        where len("order".shipping_lines) > 0
    ),
    taxed as (
        select
            _line,
            id,
            'order_line' as owner_type,
            position,
            id_of(line.admin_graphql_api_id, line.id, 'LineItem') as owner_id,
            unnest(line.tax_lines) as tax,
            generate_subscripts(line.tax_lines, 1) as tax_position
        from lines
        where len(line.tax_lines) > 0
        union all
        select
            _line,
            id,
            'shipping_line' as owner_type,
            position,
            id_of(line.admin_graphql_api_id, line.id, 'ShippingLine') as owner_id,
            unnest(line.tax_lines) as tax,
            generate_subscripts(line.tax_lines, 1) as tax_position
        from shipping
        where len(line.tax_lines) > 0 and line.is_removed is distinct from 'true'
    )
select
    _line,
    row_number() over (partition by _line order by owner_type, position, tax_position) as _ordinal,
    gid(id, 'Order') as order_id,
    owner_type,
    owner_id,
    tax_position - 1 as tax_index,
    tax.title as title,
    ratio(tax.rate) as rate,
    money(tax.price_set.shop_money.amount) as tax_amount,
    currency(tax.price_set.shop_money.currency_code) as currency_code,
    lost(tax.rate, ratio(tax.rate)) as _suspect
from taxed
