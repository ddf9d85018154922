select
    _line,
    1 as _ordinal,
    gid(id, 'ShippingLine') as shipping_line_id,
    gid(__parentId, 'Order') as order_id,
    title,
    code,
    source,
    money(originalPriceSet.shopMoney.amount) as gross_amount,
    money(discountedPriceSet.shopMoney.amount) as net_amount,
    money_sum([t.priceSet.shopMoney.amount for t in taxLines]) as tax_amount,
    currency(originalPriceSet.shopMoney.currencyCode) as currency_code,
    false as _suspect
from shipping_line
