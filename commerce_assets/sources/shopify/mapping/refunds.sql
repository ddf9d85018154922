with
    refunded as (
        select _line, id, unnest(refunds) as r, generate_subscripts(refunds, 1) as _ordinal
        from "order"
        where len(refunds) > 0
    )
select
    _line,
    _ordinal,
    gid(r.id, 'Refund') as refund_id,
    gid(id, 'Order') as order_id,
    instant(r.createdAt) as created_at,
    -- Unset on refunds made by hand: those happened when they were created.
    instant(coalesce(r.processedAt, r.createdAt)) as processed_at,
    instant(r.updatedAt) as updated_at,
    r.note as note,
    money(r.totalRefundedSet.shopMoney.amount) as refunded_amount,
    currency(r.totalRefundedSet.shopMoney.currencyCode) as currency_code,
    false as _suspect
from refunded
