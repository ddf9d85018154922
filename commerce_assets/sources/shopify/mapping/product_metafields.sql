select
    _line,
    1 as _ordinal,
    gid(id, 'Metafield') as metafield_id,
    gid(__parentId, 'Product') as product_id,
    namespace,
    "key" as "key",
    "type" as "type",
    "value" as "value",
    instant(updatedAt) as updated_at,
    false as _suspect
from metafield
