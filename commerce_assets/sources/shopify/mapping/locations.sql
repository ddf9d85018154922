select
    _line,
    1 as _ordinal,
    gid(id, 'Location') as location_id,
    id as location_gid,
    name as location_name,
    truth(isActive) as is_active,
    truth(fulfillsOnlineOrders) as is_fulfilling_online,
    truth(shipsInventory) as is_shipping,
    "address".city as city,
    "address".provinceCode as province_code,
    "address".zip as postal_code,
    country("address".countryCode) as country_code,
    instant(createdAt) as created_at,
    instant(updatedAt) as updated_at,
    instant(deactivatedAt) as deactivated_at,
    lost(deactivatedAt, deactivated_at) as _suspect
from "location"
