select
    _line,
    1 as _ordinal,
    lower(split_part(id, '/', 4)) as object_type,
    any_gid(id) as object_id,
    instant(deletedAt) as deleted_at,
    false as _suspect
from deletion
