select
    _line,
    1 as _ordinal,
    gid(id, 'ProductVariant') as variant_id,
    id as variant_gid,
    gid(__parentId, 'Product') as product_id,
    gid(inventoryItem.id, 'InventoryItem') as inventory_item_id,
    title,
    sku,
    barcode,
    whole("position") as "position",
    money(price) as price_amount,
    money(compareAtPrice) as compare_at_amount,
    money(inventoryItem.unitCost.amount) as unit_cost_amount,
    currency(inventoryItem.unitCost.currencyCode) as unit_cost_currency_code,
    truth(taxable) as is_taxable,
    truth(inventoryItem.tracked) as is_tracked,
    truth(inventoryItem.requiresShipping) as is_shippable,
    inventoryPolicy as inventory_policy,
    whole(inventoryQuantity) as inventory_quantity,
    cast(
        to_json(
            map_from_entries([{'k':option.name, 'v':option.value} for option in coalesce(selectedOptions, [])])
        ) as varchar
    ) as option_values,
    instant(createdAt) as created_at,
    instant(updatedAt) as updated_at,
    lost(compareAtPrice, compare_at_amount)
    or lost(inventoryItem.unitCost.amount, unit_cost_amount)
    or lost(inventoryQuantity, inventory_quantity) as _suspect
from product_variant
