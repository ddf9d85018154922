select
    _line,
    1 as _ordinal,
    gid(id, 'InventoryItem') as inventory_item_id,
    id as inventory_item_gid,
    sku,
    truth(tracked) as is_tracked,
    truth(requiresShipping) as is_shippable,
    country(countryCodeOfOrigin) as origin_country_code,
    harmonizedSystemCode as harmonized_system_code,
    money(unitCost.amount) as unit_cost_amount,
    currency(unitCost.currencyCode) as currency_code,
    instant(createdAt) as created_at,
    instant(updatedAt) as updated_at,
    lost(unitCost.amount, unit_cost_amount) as _suspect
from inventory_item
