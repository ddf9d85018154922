select
    _line,
    _ordinal,
    id_of(t.admin_graphql_api_id, t.id, 'OrderTransaction') as transaction_id,
    gid(id, 'Order') as order_id,
    key(t.parent_id) as parent_transaction_id,
    upper(t.kind) as kind,
    upper(t.status) as status,
    t.gateway as gateway,
    truth(t.test) as is_test,
    upper(t.error_code) as error_code,
    in_shop_money(t.amount, t.currency, totals) as amount,
    currency(totals.currency) as currency_code,
    instant(t.created_at) as created_at,
    instant(t.processed_at) as processed_at,
    lost(t.parent_id, parent_transaction_id) or lost(t.processed_at, processed_at) as _suspect
from transactions_once('envelope')
