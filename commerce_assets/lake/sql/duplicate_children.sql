-- Rows with a key that a later line has, too.
select _file, _line, _ordinal
from staged."{table}"
qualify row_number() over (partition by {key} order by _file desc, _line desc, _ordinal desc) > 1
