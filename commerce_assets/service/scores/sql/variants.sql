-- What demand is summed up by.
select variant_id, product_id, nullif(product_type, '') as product_type, cast(created_at as date) as created_on
from marts.dim_variant
where not is_gift_card and not is_deleted
