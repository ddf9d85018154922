-- Versions of a root document but the newest, and versions whose document was refused.
select _file, _line, _ordinal
from staged."{table}"
qualify row_number() over (partition by {key} order by {version} desc, _file desc, _line desc, _ordinal desc) > 1
union
select _file, _line, _ordinal
from staged."{table}"
where {root_id} in (select root_id from quarantined where table_name = '{table}' and row_id is not null)
