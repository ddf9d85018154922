-- What recommendations read: every line of a product that was sold, gift cards left out, with what came back of it.
select
    order_id,
    customer_id,
    product_id,
    ordered_on,
    quantity as unit_count,
    returned_quantity >= quantity as is_returned_whole
from marts.fct_order_line
where order_kind = 'sale' and is_reportable and not is_gift_card and product_id is not null
