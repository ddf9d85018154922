select
    _line,
    1 as _ordinal,
    gid(__parentId, 'Fulfillment') as fulfillment_id,
    owner(__parentId, 'Fulfillment', owners.root_id) as order_id,
    gid(lineItem.id, 'LineItem') as order_line_id,
    gid(id, 'FulfillmentLineItem') as fulfillment_line_id,
    whole(quantity) as quantity,
    false as is_derived,
    lost(id, fulfillment_line_id) as _suspect
from fulfillment_line_item
left join owners on owners.owner_gid = fulfillment_line_item.__parentId
