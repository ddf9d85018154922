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
                round(money(amount) * money(totals.shop) / nullif(money(totals.presentment), 0), 2) as decimal(18, 4)
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
-- relations would have to be there when it is made.
create macro refunds_once(source) as table
    with
        listed as (
            select
                _line,
                id,
                totals_of("order") as totals,
                unnest("order".refunds) as r,
                1 as place,
                generate_subscripts("order".refunds, 1) as position
            from query_table(source)
            where len("order".refunds) > 0
            union all
            select
                _line,
                id,
                totals_of("order") as totals,
                unnest(refunds) as r,
                0 as place,
                generate_subscripts(refunds, 1) as position
            from query_table(source)
            where len(refunds) > 0
        )
    select _line, row_number() over (partition by _line order by place, position) as _ordinal, id, totals, r
    from listed
    qualify row_number() over (partition by _line, coalesce(r.id, r.admin_graphql_api_id) order by place desc, position) = 1;

-- Of two with one id the one that was changed later. `ordered` is how many pieces the order holds.
create macro fulfillments_once(source) as table
    with
        listed as (
            select
                _line,
                id,
                list_sum([try_cast(line.quantity as bigint) for line in "order".line_items]) as ordered,
                unnest("order".fulfillments) as f,
                1 as place,
                generate_subscripts("order".fulfillments, 1) as position
            from query_table(source)
            where len("order".fulfillments) > 0
            union all
            select
                _line,
                id,
                list_sum([try_cast(line.quantity as bigint) for line in "order".line_items]) as ordered,
                unnest(fulfillments) as f,
                0 as place,
                generate_subscripts(fulfillments, 1) as position
            from query_table(source)
            where len(fulfillments) > 0
        )
    select _line, row_number() over (partition by _line order by place, position) as _ordinal, id, ordered, f
    from listed
    qualify
        row_number() over (
            partition by _line, coalesce(f.id, f.admin_graphql_api_id)
            order by try_cast(f.updated_at as timestamptz) desc nulls last, place desc, position
        ) = 1;

-- A refund repeats its transactions. Of two with one id the one that is no longer pending.
create macro transactions_once(source) as table
    with
        refunded as (
            select _line, id, totals, r.transactions as paid_back, _ordinal as refund
            from refunds_once(source)
            where len(r.transactions) > 0
        ),
        listed as (
            select
                _line,
                id,
                totals_of("order") as totals,
                unnest(transactions) as t,
                0 as place,
                generate_subscripts(transactions, 1) as position
            from query_table(source)
            where len(transactions) > 0
            union all
            select
                _line, id, totals, unnest(paid_back) as t, refund as place, generate_subscripts(paid_back, 1) as position
            from refunded
        )
    select _line, row_number() over (partition by _line order by place, position) as _ordinal, id, totals, t
    from listed
    qualify
        row_number() over (
            partition by _line, coalesce(t.id, t.admin_graphql_api_id)
            order by lower(t.status) = 'pending', place, position
        ) = 1;
