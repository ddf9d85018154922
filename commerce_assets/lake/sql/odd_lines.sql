select _line, text, contains(text, '"__parentId"') as is_child
from lines
where _line in (select _line from value.parents where _odd union all select _line from value.children where _odd)
