-- The same names as in `_values.sql`; each gives the rule that its raw value breaks, after chr(1), or null. Run on
-- refused rows only.
create macro broken(rule) as chr(1) || rule;

create macro gid(x, kind) as
    case when not regexp_full_match(x, 'gid://shopify/' || kind || '/[1-9][0-9]{0,17}(\?.*)?') then broken('id_format') end;

create macro key(x) as case when not regexp_full_match(x, '[1-9][0-9]{0,17}') then broken('id_format') end;

create macro id_of(named, x, kind) as case when named is null then key(x) else gid(named, kind) end;

create macro instant(x) as
    case
        when regexp_full_match(x, '\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?') then broken('naive_time')
        when not regexp_full_match(x, '\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d(:?\d\d)?)') then broken('wrong_type')
        when x is not null and try_cast(x as timestamptz) is null then broken('wrong_type')
    end;

create macro moment(x) as value.moment(x);

create macro money(x) as
    case when x is not null and try_cast(x as decimal(18, 4)) is null then broken('wrong_type') end;

create macro whole(x) as case when not regexp_full_match(x, '-?\d{1,18}') then broken('wrong_type') end;

create macro ratio(x) as case when x is not null and not coalesce(isfinite(try_cast(x as double)), false) then broken('wrong_type') end;

create macro truth(x) as case when x not in ('true', 'false') then broken('wrong_type') end;

create macro sum_of(amounts) as list_filter(amounts, lambda amount: amount is not null)[1];

create macro units_of(amounts) as list_filter(amounts, lambda amount: amount is not null)[1];

create macro product_of(price, quantity) as coalesce(money(price), whole(quantity));

create macro totals_of(o) as value.totals_of(o);

create macro in_shop_money(amount, of_currency, totals) as money(amount);

create macro split_tags(x) as null::varchar;

create macro company_key(x) as
    case when x is not null then key(regexp_extract(cast(x as varchar), '^\{\s*"id":\s*"?([^",}]*)', 1)) end;

create macro country(x) as null::varchar;

create macro currency(x) as null::varchar;

create macro lost(raw, typed) as false;

create macro refunds_once(source) as table select * from value.refunds_once(source);

create macro fulfillments_once(source) as table select * from value.fulfillments_once(source);

create macro transactions_once(source) as table select * from value.transactions_once(source);
