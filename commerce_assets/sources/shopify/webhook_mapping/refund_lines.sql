with
    listed as (
        select
            _line,
            _ordinal as refund,
            id,
            r,
            unnest(r.refund_line_items) as line,
            generate_subscripts(r.refund_line_items, 1) as position
        from refunds_once('envelope')
        where len(r.refund_line_items) > 0
    )
select
    _line,
    row_number() over (partition by _line order by refund, position) as _ordinal,
    id_of(line.admin_graphql_api_id, line.id, 'RefundLineItem') as refund_line_id,
    id_of(r.admin_graphql_api_id, r.id, 'Refund') as refund_id,
    gid(id, 'Order') as order_id,
    id_of(line.line_item.admin_graphql_api_id, line.line_item_id, 'LineItem') as order_line_id,
    whole(line.quantity) as quantity,
    upper(line.restock_type) as restock_type,
    lower(line.restock_type) in ('return', 'cancel', 'legacy_restock') as is_restocked,
    key(line.location_id) as location_id,
    money(line.subtotal_set.shop_money.amount) as subtotal_amount,
    money(line.total_tax_set.shop_money.amount) as tax_amount,
    currency(line.subtotal_set.shop_money.currency_code) as currency_code,
    lost(line.location_id, location_id) as _suspect
from listed
