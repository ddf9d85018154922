-- An order's only shipment that was not cancelled, when it holds as many units as the order has, holds every line of
-- the order.
with
    only_shipments as (
        select order_id, any_value(fulfillment_id) as fulfillment_id, any_value(quantity) as quantity
        from staged.fulfillments
        where status <> 'CANCELLED'
        group by order_id
        having count(*) = 1
    ),
    whole_orders as (
        select only_shipments.order_id, only_shipments.fulfillment_id
        from only_shipments
        inner join
            (select order_id, sum(quantity) as quantity from staged.order_lines group by all) as ordered
            on ordered.order_id = only_shipments.order_id
            and ordered.quantity = only_shipments.quantity
        where only_shipments.fulfillment_id not in (select fulfillment_id from staged.fulfillment_lines)
    )
select
    whole_orders.fulfillment_id,
    whole_orders.order_id,
    order_lines.order_line_id,
    cast(null as bigint) as fulfillment_line_id,
    order_lines.quantity,
    true as is_derived,
    order_lines._file,
    order_lines._line,
    order_lines._ordinal
from whole_orders
inner join staged.order_lines on order_lines.order_id = whole_orders.order_id
where order_lines.quantity > 0
