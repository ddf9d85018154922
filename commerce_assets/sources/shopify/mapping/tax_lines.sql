with
    owners_of_tax as (
        select
            _line,
            id,
            __parentId,
            _kind,
            unnest(taxLines) as tax,
            generate_subscripts(taxLines, 1) as _ordinal
        from children
        where _kind in ('LineItem', 'ShippingLine') and len(taxLines) > 0
    )
select
    _line,
    _ordinal,
    gid(__parentId, 'Order') as order_id,
    case _kind when 'LineItem' then 'order_line' else 'shipping_line' end as owner_type,
    case _kind when 'LineItem' then gid(id, 'LineItem') else gid(id, 'ShippingLine') end as owner_id,
    _ordinal - 1 as tax_index,
    tax.title as title,
    ratio(tax.rate) as rate,
    money(tax.priceSet.shopMoney.amount) as tax_amount,
    currency(tax.priceSet.shopMoney.currencyCode) as currency_code,
    lost(tax.rate, ratio(tax.rate)) as _suspect
from owners_of_tax
