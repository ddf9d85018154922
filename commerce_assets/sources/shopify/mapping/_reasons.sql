-- The same names as in `_values.sql`; each gives the rule that its raw value breaks, after chr(1), or null. Run on
-- refused rows only.
create macro broken(rule) as chr(1) || rule;

create macro gid(x, kind) as
    case when not regexp_full_match(x, 'gid://shopify/' || kind || '/[1-9][0-9]{0,17}(\?.*)?') then broken('id_format') end;

create macro any_gid(x) as
    case when not regexp_full_match(x, 'gid://shopify/[A-Za-z0-9]+/[1-9][0-9]{0,17}(\?.*)?') then broken('id_format') end;

create macro ref(x, kind) as case when x is not null then gid(regexp_extract(x, '^\{"id":"([^"]*)"', 1), kind) end;

create macro instant(x) as
    case
        when regexp_full_match(x, '\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?') then broken('naive_time')
        when not regexp_full_match(x, '\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d(:?\d\d)?)') then broken('wrong_type')
        when x is not null and try_cast(x as timestamptz) is null then broken('wrong_type')
    end;

create macro money(x) as
    case when x is not null and try_cast(x as decimal(18, 4)) is null then broken('wrong_type') end;

create macro whole(x) as case when not regexp_full_match(x, '-?\d{1,18}') then broken('wrong_type') end;

create macro ratio(x) as case when x is not null and not coalesce(isfinite(try_cast(x as double)), false) then broken('wrong_type') end;

create macro truth(x) as case when x not in ('true', 'false') then broken('wrong_type') end;

create macro money_sum(amounts) as
    case
        when list_contains([money(amount) is not null for amount in amounts], true) then broken('wrong_type')
        when list_contains([amount is null for amount in amounts], true) then broken('not_null')
    end;

create macro owner(x, kind, root_id) as coalesce(gid(x, kind), case when x is not null and root_id is null then broken('parent_missing') end);

create macro quantity_named(quantities, wanted) as whole(list_filter(quantities, lambda q: q.name = wanted)[1].quantity);

create macro country(x) as null::varchar;

create macro currency(x) as null::varchar;

create macro lost(raw, typed) as false;
