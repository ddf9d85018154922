with
    taxed as (
        select
            _line,
            __parentId,
            'order_line' as owner_type,
            gid(id, 'LineItem') as owner_id,
            unnest(taxLines) as tax,
            generate_subscripts(taxLines, 1) as _ordinal
        from line_item
        where len(taxLines) > 0
        union all
        select
            _line,
            __parentId,
            'shipping_line' as owner_type,
            gid(id, 'ShippingLine') as owner_id,
            unnest(taxLines) as tax,
            generate_subscripts(taxLines, 1) as _ordinal
        from shipping_line
        where len(taxLines) > 0
    )
select
    _line,
    _ordinal,
    gid(__parentId, 'Order') as order_id,
    owner_type,
    owner_id,
    _ordinal - 1 as tax_index,
    tax.title as title,
    ratio(tax.rate) as rate,
    money(tax.priceSet.shopMoney.amount) as tax_amount,
    currency(tax.priceSet.shopMoney.currencyCode) as currency_code,
    lost(tax.rate, ratio(tax.rate)) as _suspect
from taxed
