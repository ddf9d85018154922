create or replace view staged."{table}" as
select *
from {source} as rows
where not exists (
    select 1
    from dropped
    where
        dropped.table_name = '{table}'
        and dropped._file = rows._file
        and dropped._line = rows._line
        and dropped._ordinal = rows._ordinal
)
