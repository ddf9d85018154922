with
    shipped as (
        select _line, id, unnest(fulfillments) as f, generate_subscripts(fulfillments, 1) as _ordinal
        from "order"
        where len(fulfillments) > 0
    )
select
    _line,
    _ordinal,
    gid(f.id, 'Fulfillment') as fulfillment_id,
    gid(id, 'Order') as order_id,
    f.name as fulfillment_name,
    f.status as status,
    f.displayStatus as display_status,
    whole(f.totalQuantity) as quantity,
    ref(f.location, 'Location') as location_id,
    instant(f.createdAt) as created_at,
    instant(f.updatedAt) as updated_at,
    instant(f.inTransitAt) as in_transit_at,
    instant(f.deliveredAt) as delivered_at,
    lost(f.location, location_id) or lost(f.inTransitAt, in_transit_at) or lost(f.deliveredAt, delivered_at) as _suspect
from shipped
