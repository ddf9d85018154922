with
    paid as (
        select _line, id, unnest(transactions) as t, generate_subscripts(transactions, 1) as _ordinal
        from "order"
        where len(transactions) > 0
    )
select
    _line,
    _ordinal,
    gid(t.id, 'OrderTransaction') as transaction_id,
    gid(id, 'Order') as order_id,
    ref(t.parentTransaction, 'OrderTransaction') as parent_transaction_id,
    t.kind as kind,
    t.status as status,
    t.gateway as gateway,
    truth(t.test) as is_test,
    t.errorCode as error_code,
    money(t.amountSet.shopMoney.amount) as amount,
    currency(t.amountSet.shopMoney.currencyCode) as currency_code,
    instant(t.createdAt) as created_at,
    instant(t.processedAt) as processed_at,
    lost(t.parentTransaction, parent_transaction_id) or lost(t.processedAt, processed_at) as _suspect
from paid
