select
    fulfillments.fulfillment_id,
    fulfillments.order_id,
    fulfillments.created_at,
    orders.processed_at as order_processed_at
from staged.fulfillments
inner join staged.orders using (order_id)
