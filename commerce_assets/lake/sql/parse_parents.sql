-- A line's lack of "__parentId" makes it a root. A key inside a text has its quotes escaped, so the search finds keys only.
create or replace table {schema}.parents as
select
    _line,
    case when starts_with(id, 'gid://shopify/') then split_part(id, '/', 4) end as _kind,
    {odd} as _odd,
    *
    exclude (_line, text)
from (select _line, text, unnest(from_json(text, '{structure}')) from lines where not contains(text, '"__parentId"'))
