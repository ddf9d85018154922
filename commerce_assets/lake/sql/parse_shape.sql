-- `+ 0` keeps the filter here: pushed into the Arrow scan it would copy the texts.
create or replace table {schema}."{shape}" as
select _line, unnest(from_json(text, '{structure}'))
from lines
where _shape + 0 = {number}
