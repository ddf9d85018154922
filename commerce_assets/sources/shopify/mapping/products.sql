select
    _line,
    1 as _ordinal,
    gid(id, 'Product') as product_id,
    id as product_gid,
    title,
    handle,
    vendor,
    productType as product_type,
    status,
    truth(isGiftCard) as is_gift_card,
    tags,
    instant(createdAt) as created_at,
    instant(updatedAt) as updated_at,
    instant(publishedAt) as published_at,
    lost(publishedAt, published_at) as _suspect
from product
