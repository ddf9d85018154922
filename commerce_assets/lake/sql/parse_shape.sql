-- `+ 0` keeps the filter here: pushed into the Arrow scan it would copy the texts.
create or replace table {schema}."{shape}" as
select _line, {odd} as _odd, * exclude (_line, text)
from (select _line, text, unnest(from_json(text, '{structure}')) from lines where _shape + 0 = {number})
