select
    _line,
    _ordinal,
    id_of(r.admin_graphql_api_id, r.id, 'Refund') as refund_id,
    gid(id, 'Order') as order_id,
    instant(r.created_at) as created_at,
    -- Unset on refunds made by hand: those happened when they were created.
    instant(coalesce(r.processed_at, r.created_at)) as processed_at,
    -- A payload does not say when a refund was last changed; they hardly ever are.
    instant(r.created_at) as updated_at,
    r.note as note,
    sum_of(
        [
            in_shop_money(t.amount, t.currency, totals)
            for t in coalesce(r.transactions, [])
            if lower(t.kind) = 'refund' and lower(t.status) = 'success'
        ]
    ) as refunded_amount,
    currency(totals.currency) as currency_code,
    false as _suspect
from refunds_once('envelope')
