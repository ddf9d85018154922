-- Every product, with what is left of it to sell; null where that is not counted, or sold on regardless.
with
    variants as (
        select
            product_id,
            bool_or(not is_tracked or inventory_policy = 'continue') as is_always_available,
            sum(greatest(coalesce(inventory_quantity, 0), 0)) as available_count
        from marts.dim_variant
        group by product_id
    )

select
    products.product_id,
    products.product_gid,
    products.title,
    products.product_type,
    lower(products.status) as status,
    products.is_deleted,
    products.is_gift_card,
    case
        when coalesce(variants.is_always_available, false)
        then null
        else cast(coalesce(variants.available_count, 0) as bigint)
    end as available_count
from marts.dim_product as products
left join variants on variants.product_id = products.product_id
