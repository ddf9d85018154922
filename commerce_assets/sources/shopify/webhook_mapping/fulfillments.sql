select
    _line,
    _ordinal,
    id_of(f.admin_graphql_api_id, f.id, 'Fulfillment') as fulfillment_id,
    gid(id, 'Order') as order_id,
    f.name as fulfillment_name,
    upper(f.status) as status,
    case
        when lower(f.status) = 'cancelled'
        then 'CANCELED'
        when f.shipment_status is not null
        then upper(f.shipment_status)
        when lower(f.status) = 'success'
        then 'FULFILLED'
    end as display_status,
    units_of([whole(line.quantity) for line in coalesce(f.line_items, [])]) as quantity,
    key(f.location_id) as location_id,
    instant(f.created_at) as created_at,
    instant(f.updated_at) as updated_at,
    -- When the carrier had it and delivered it stands in no payload: such orders are read from the shop.
    cast(null as timestamptz) as in_transit_at,
    cast(null as timestamptz) as delivered_at,
    lost(f.location_id, location_id) as _suspect
from fulfillments_once('envelope')
