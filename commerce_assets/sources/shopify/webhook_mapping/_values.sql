-- How one raw value of a payload becomes a typed one; null when it cannot. `_reasons.sql` has the same names and says
-- why not.
create macro gid(x, kind) as
    case when regexp_full_match(x, 'gid://shopify/' || kind || '/[1-9][0-9]{0,17}(\?.*)?')
        then try_cast(split_part(substr(x, 16 + length(kind)), '?', 1) as bigint) end;

-- A cast that fails would fail the whole batch, even behind a condition: in a lambda it may run before it.
create macro key(x) as case when regexp_full_match(x, '[1-9][0-9]{0,17}') then try_cast(x as bigint) end;

-- The gid where there is one: who wrote the payload may have rounded the number.
create macro id_of(named, x, kind) as case when named is null then key(x) else gid(named, kind) end;

create macro instant(x) as
    case when regexp_full_match(x, '\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d(:?\d\d)?)')
        then try_cast(x as timestamptz) end;

-- To tell which of two is later.
create macro moment(x) as coalesce(try_cast(x as timestamptz), timestamptz '-infinity');

create macro money(x) as try_cast(x as decimal(18, 4));

create macro whole(x) as case when regexp_full_match(x, '-?\d{1,18}') then try_cast(x as bigint) end;

create macro ratio(x) as case when isfinite(try_cast(x as double)) then try_cast(x as double) end;

create macro truth(x) as case x when 'true' then true when 'false' then false end;

create macro sum_of(amounts) as
    case
        when coalesce(len(amounts), 0) = 0 then cast(0 as decimal(18, 4))
        when len(amounts) = 1 then amounts[1]
        when len(list_filter(amounts, lambda amount: amount is null)) > 0 then null
        else try_cast(list_sum(amounts) as decimal(18, 4))
    end;

create macro units_of(amounts) as
    case
        when len(list_filter(amounts, lambda amount: amount is null)) > 0 then null
        else try_cast(coalesce(list_sum(amounts), 0) as bigint)
    end;

create macro product_of(price, quantity) as try_cast(money(price) * whole(quantity) as decimal(18, 4));

-- What an order's payments are booked by: carried along in place of the whole order.
create macro totals_of(o) as
    struct_pack(
        currency := o.currency,
        shop := o.total_price_set.shop_money.amount,
        presentment := o.total_price_set.presentment_money.amount
    );

-- A transaction names one amount; where that is the buyer's currency, the order's own two totals give the rate.
create macro in_shop_money(amount, of_currency, totals) as
    case
        when of_currency is null or upper(of_currency) = upper(totals.currency) then money(amount)
        else
            try_cast(
                round(
                    cast(money(amount) as double)
                    * cast(money(totals.shop) as double)
                    / nullif(cast(money(totals.presentment) as double), 0),
                    2
                ) as decimal(18, 4)
            )
    end;

create macro split_tags(x) as
    case when trim(x) = '' then cast([] as varchar[]) else [trim(tag) for tag in string_split(x, ',')] end;

create macro company_key(x) as key(regexp_extract(cast(x as varchar), '^\{\s*"id":\s*"?([^",}]*)', 1));

create macro country(x) as
    case
        when trim(x) = '' then null
        when length(x) = 2 and upper(x) not in ('UK', 'EL') then upper(x)
        else coalesce(getvariable('country_aliases')[upper(trim(x))], upper(trim(x)))
    end;

create macro currency(x) as upper(trim(x));

create macro lost(raw, typed) as raw is not null and typed is null;

-- What stands in the order and what came beside it, each once. `source` names the relation of envelopes: a macro's own
-- relations would have to be there when it is made. What came beside it is numbered first, by its place in its list.
create macro refunds_once(source) as table
    with
        listed as (
            select _line, id, totals_of("order") as totals, list_concat(refunds, "order".refunds) as every
            from query_table(source)
            where len(refunds) > 0 or len("order".refunds) > 0
        ),
        numbered as (
            select _line, id, totals, every, unnest(every) as r, generate_subscripts(every, 1) as _ordinal from listed
        )
    -- Of two with one id the order's own.
    select _line, _ordinal, id, totals, r
    from numbered
    where len(list_filter(every, lambda other, place: other.id = r.id and place > _ordinal)) = 0;

-- `ordered` is how many pieces the order holds.
create macro fulfillments_once(source) as table
    with
        listed as (
            select
                _line,
                id,
                list_sum([try_cast(line.quantity as bigint) for line in "order".line_items]) as ordered,
                list_concat(fulfillments, "order".fulfillments) as every
            from query_table(source)
            where len(fulfillments) > 0 or len("order".fulfillments) > 0
        ),
        numbered as (
            select _line, id, ordered, every, unnest(every) as f, generate_subscripts(every, 1) as _ordinal from listed
        )
    -- Of two with one id the one that was changed later, else the order's own.
    select _line, _ordinal, id, ordered, f
    from numbered
    where
        len(
            list_filter(
                every,
                lambda other, place: other.id = f.id
                and place <> _ordinal
                and case
                    when moment(other.updated_at) = moment(f.updated_at) then place > _ordinal
                    else moment(other.updated_at) > moment(f.updated_at)
                end
            )
        )
        = 0;

create macro transactions_once(source) as table
    with
        listed as (
            select
                _line,
                id,
                totals_of("order") as totals,
                list_concat(
                    transactions, flatten([r.transactions for r in list_concat("order".refunds, refunds)])
                ) as every
            from query_table(source)
        ),
        numbered as (
            select _line, id, totals, every, unnest(every) as t, generate_subscripts(every, 1) as _ordinal
            from listed
            where len(every) > 0
        )
    -- A refund repeats its transactions. Of two with one id the one that is no longer pending.
    select _line, _ordinal, id, totals, t
    from numbered
    where
        len(
            list_filter(
                every,
                lambda other, place: other.id = t.id
                and place <> _ordinal
                and case
                    when (lower(other.status) = 'pending') = (lower(t.status) = 'pending') then place < _ordinal
                    else lower(t.status) = 'pending'
                end
            )
        )
        = 0;
