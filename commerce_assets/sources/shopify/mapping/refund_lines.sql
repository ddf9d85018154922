select
    _line,
    1 as _ordinal,
    gid(id, 'RefundLineItem') as refund_line_id,
    gid(__parentId, 'Refund') as refund_id,
    owner(__parentId, 'Refund', owners.root_id) as order_id,
    gid(lineItem.id, 'LineItem') as order_line_id,
    whole(quantity) as quantity,
    restockType as restock_type,
    truth(restocked) as is_restocked,
    gid("location".id, 'Location') as location_id,
    money(subtotalSet.shopMoney.amount) as subtotal_amount,
    money(totalTaxSet.shopMoney.amount) as tax_amount,
    currency(priceSet.shopMoney.currencyCode) as currency_code,
    lost("location".id, location_id) as _suspect
from refund_line_item
left join owners on owners.owner_gid = refund_line_item.__parentId
