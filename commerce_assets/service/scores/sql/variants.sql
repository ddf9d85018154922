-- What demand is summed up by, and what a unit is worth.
select
    variant_id,
    product_id,
    coalesce(nullif(product_type, ''), 'none') as product_type,
    cast(created_at as date) as created_on,
    price_amount
from marts.dim_variant
where not is_gift_card and not is_deleted
