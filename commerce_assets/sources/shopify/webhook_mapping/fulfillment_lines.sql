-- Without those of the only live shipment of an order that holds every piece of it: they are derived, as in a pull.
with
    shipments as (
        select
            _line,
            _ordinal as shipment,
            id,
            ordered,
            f,
            lower(f.status) <> 'cancelled' as is_live,
            list_sum([try_cast(line.quantity as bigint) for line in f.line_items]) as shipped
        from fulfillments_once('envelope')
    ),
    told as (
        select *
        from shipments
        qualify
            not coalesce(
                is_live and count(*) filter (is_live) over (partition by _line) = 1 and shipped = ordered, false
            )
    ),
    listed as (
        select _line, shipment, id, f, unnest(f.line_items) as line, generate_subscripts(f.line_items, 1) as position
        from told
        where len(f.line_items) > 0
    )
select
    _line,
    row_number() over (partition by _line order by shipment, position) as _ordinal,
    id_of(f.admin_graphql_api_id, f.id, 'Fulfillment') as fulfillment_id,
    gid(id, 'Order') as order_id,
    id_of(line.admin_graphql_api_id, line.id, 'LineItem') as order_line_id,
    cast(null as bigint) as fulfillment_line_id,
    whole(line.quantity) as quantity,
    false as is_derived,
    false as _suspect
from listed
