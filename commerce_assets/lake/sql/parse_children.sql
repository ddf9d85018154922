create or replace table {schema}.children as
select
    _line,
    case when id is null then {typename} when starts_with(id, 'gid://shopify/') then split_part(id, '/', 4) end as _kind,
    {odd} as _odd,
    *
    exclude (_line, text)
from (select _line, text, unnest(from_json(text, '{structure}')) from lines where contains(text, '"__parentId"'))
