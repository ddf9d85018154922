select _line, rtrim(text, chr(10) || chr(13))
from lines
where case when json_valid(text) then json_type(text) <> 'OBJECT' else true end
