with
    variants as (select * from {{ ref("stg_storefront__variants") }}),

    products as (select * from {{ ref("stg_storefront__products") }})

select
    -- ids
    variants.variant_id,
    variants.variant_gid,
    variants.product_id,
    variants.inventory_item_id,
    -- strings
    products.title as product_title,
    variants.title as variant_title,
    variants.sku,
    variants.barcode,
    variants.option_values,
    products.vendor,
    products.product_type,
    products.status as product_status,
    variants.inventory_policy,
    -- numbers
    variants.position,
    variants.inventory_quantity,
    -- amounts
    variants.price_amount,
    variants.compare_at_amount,
    variants.unit_cost_amount,
    variants.unit_cost_currency_code,
    -- booleans
    products.is_gift_card,
    variants.is_taxable,
    variants.is_tracked,
    variants.is_shippable,
    products.is_deleted,
    -- times
    variants.created_at,
    variants.updated_at,
    -- where it came from
    variants._source_file,
    variants._line,
    variants._loaded_at
from variants
inner join products on products.product_id = variants.product_id
