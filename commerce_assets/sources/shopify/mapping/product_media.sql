select
    _line,
    1 as _ordinal,
    any_gid(id) as media_id,
    gid(__parentId, 'Product') as product_id,
    mediaContentType as media_type,
    status,
    alt,
    false as _suspect
from media
