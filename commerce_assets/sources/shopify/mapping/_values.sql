-- How one raw value becomes a typed one; null when it cannot. `_reasons.sql` has the same names and says why not.
create macro gid(x, kind) as
    case when regexp_full_match(x, 'gid://shopify/' || kind || '/[1-9][0-9]{0,17}(\?.*)?')
        then cast(split_part(substr(x, 16 + length(kind)), '?', 1) as bigint) end;

create macro any_gid(x) as
    case when regexp_full_match(x, 'gid://shopify/[A-Za-z0-9]+/[1-9][0-9]{0,17}(\?.*)?')
        then cast(regexp_extract(x, '/([0-9]+)(\?.*)?$', 1) as bigint) end;

create macro ref(x, kind) as gid(regexp_extract(x, '^\{"id":"([^"]*)"', 1), kind);

create macro instant(x) as
    case when regexp_full_match(x, '\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d(:?\d\d)?)')
        then try_cast(x as timestamptz) end;

create macro money(x) as try_cast(x as decimal(18, 4));

create macro whole(x) as case when regexp_full_match(x, '-?\d{1,18}') then cast(x as bigint) end;

create macro ratio(x) as case when isfinite(try_cast(x as double)) then try_cast(x as double) end;

create macro truth(x) as case x when 'true' then true when 'false' then false end;

create macro money_sum(amounts) as
    case
        when len(amounts) = 0 then cast(0 as decimal(18, 4))
        when len(amounts) = 1 then money(amounts[1])
        when list_contains([money(amount) is null for amount in amounts], true) then null
        else cast(list_sum([money(amount) for amount in amounts]) as decimal(18, 4))
    end;

create macro owner(x, kind, root_id) as case when gid(x, kind) is not null then root_id end;

create macro quantity_named(quantities, wanted) as whole(list_filter(quantities, lambda q: q.name = wanted)[1].quantity);

create macro country(x) as
    case
        when trim(x) = '' then null
        when length(x) = 2 and upper(x) not in ('UK', 'EL') then upper(x)
        else coalesce(getvariable('country_aliases')[upper(trim(x))], upper(trim(x)))
    end;

create macro currency(x) as upper(trim(x));

create macro lost(raw, typed) as raw is not null and typed is null;
