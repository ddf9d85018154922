with
    products as (select * from {{ ref("stg_storefront__products") }}),

    variants as (
        select
            product_id,
            count(*) as variant_count,
            min(price_amount) as min_price_amount,
            max(price_amount) as max_price_amount,
            sum(inventory_quantity) as inventory_quantity
        from {{ ref("stg_storefront__variants") }}
        group by product_id
    ),

    media as (
        select product_id, count(*) as media_count from {{ ref("stg_storefront__product_media") }} group by product_id
    )

select
    -- ids
    products.product_id,
    products.product_gid,
    -- strings
    products.title,
    products.handle,
    products.vendor,
    products.product_type,
    products.status,
    products.tags,
    -- counts
    coalesce(variants.variant_count, 0) as variant_count,
    coalesce(media.media_count, 0) as media_count,
    cast(variants.inventory_quantity as bigint) as inventory_quantity,
    -- amounts
    variants.min_price_amount,
    variants.max_price_amount,
    -- booleans
    products.is_gift_card,
    products.is_deleted,
    -- times
    products.created_at,
    products.updated_at,
    products.published_at,
    products.deletion_seen_at,
    -- where it came from
    products._source_file,
    products._line,
    products._loaded_at
from products
left join variants on variants.product_id = products.product_id
left join media on media.product_id = products.product_id
