select
    _line,
    1 as _ordinal,
    id as inventory_level_gid,
    gid(__parentId, 'InventoryItem') as inventory_item_id,
    gid("location".id, 'Location') as location_id,
    truth(isActive) as is_active,
    quantity_named(quantities, 'available') as available_quantity,
    quantity_named(quantities, 'on_hand') as on_hand_quantity,
    quantity_named(quantities, 'committed') as committed_quantity,
    quantity_named(quantities, 'incoming') as incoming_quantity,
    quantity_named(quantities, 'reserved') as reserved_quantity,
    instant(createdAt) as created_at,
    instant(updatedAt) as updated_at,
    false as _suspect
from inventory_level
