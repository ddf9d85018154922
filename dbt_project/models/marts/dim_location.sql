select
    -- ids
    location_id,
    location_gid,
    -- strings
    location_name,
    city,
    province_code,
    postal_code,
    country_code,
    -- booleans
    is_active,
    is_fulfilling_online,
    is_shipping,
    -- times
    created_at,
    updated_at,
    deactivated_at,
    -- where it came from
    _source_file,
    _line,
    _loaded_at
from {{ ref("stg_storefront__locations") }}
