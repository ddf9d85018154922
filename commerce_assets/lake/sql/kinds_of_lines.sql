-- What kind of object a line is, and whether it has a parent, for lines whose text does not begin with that.
with
    named as (
        select
            _line,
            json_extract_string(text, '$.id') as id,
            json_extract_string(text, '$.__typename') as typename,
            json_extract_string(text, '$.__parentId') is not null as is_child
        from lines
    )
select
    _line,
    case when id is null then typename when starts_with(id, 'gid://shopify/') then split_part(id, '/', 4) end as kind,
    is_child
from named
