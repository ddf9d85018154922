-- Roots without id may be no object at all; kinds that nobody takes are looked at once more, too.
select
    exists (select 1 from value.parents where id is null or coalesce(_kind not in ({roots}), false))
    or exists (select 1 from value.children where _kind is null or _kind not in ({kinds})) as has_strange,
    exists (select 1 from value.parents where _odd) or exists (select 1 from value.children where _odd) as has_odd
