select
    _line,
    1 as _ordinal,
    lower(split_part(id, '/', 4)) as object_type,
    any_gid(id) as object_id,
    getvariable('as_of') as swept_at,
    false as _suspect
from swept
