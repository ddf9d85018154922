with
    paid as (
        select
            _line,
            sum_of(
                list(in_shop_money(t.amount, t.currency, totals)) filter (
                    lower(t.kind) in ('sale', 'capture') and lower(t.status) = 'success'
                )
            ) as received_amount,
            sum_of(
                list(in_shop_money(t.amount, t.currency, totals)) filter (
                    lower(t.kind) = 'refund' and lower(t.status) = 'success'
                )
            ) as refunded_amount
        from transactions_once('envelope')
        group by _line
    ),
    opened as (select _line, id, "order" as o from envelope)
select
    opened._line,
    1 as _ordinal,
    gid(id, 'Order') as order_id,
    id as order_gid,
    o.name as order_name,
    instant(o.created_at) as created_at,
    instant(o.processed_at) as processed_at,
    instant(o.updated_at) as updated_at,
    instant(o.cancelled_at) as cancelled_at,
    instant(o.closed_at) as closed_at,
    upper(o.cancel_reason) as cancel_reason,
    truth(o.test) as is_test,
    truth(o.confirmed) as is_confirmed,
    id_of(o.customer.admin_graphql_api_id, o.customer.id, 'Customer') as customer_id,
    company_key(o.company) as company_id,
    cast(null as varchar) as company_name,
    nullif(o.email, '') as email,
    o.note as note,
    split_tags(o.tags) as tags,
    o.source_name as source_name,
    currency(o.currency) as currency_code,
    currency(o.presentment_currency) as presentment_currency_code,
    truth(o.taxes_included) as is_taxes_included,
    upper(o.financial_status) as financial_status,
    case
        coalesce(o.fulfillment_status, 'unfulfilled')
        when 'partial'
        then 'PARTIALLY_FULFILLED'
        else upper(coalesce(o.fulfillment_status, 'unfulfilled'))
    end as fulfillment_status,
    units_of([whole(line.quantity) for line in coalesce(o.line_items, [])]) as line_quantity,
    money(o.subtotal_price_set.shop_money.amount) as subtotal_amount,
    money(o.total_discounts_set.shop_money.amount) as discount_amount,
    money(o.total_tax_set.shop_money.amount) as tax_amount,
    -- The payload's own total of shipping is before discounts; the contract's is after them.
    sum_of(
        [
            money(line.discounted_price_set.shop_money.amount)
            for line in coalesce(o.shipping_lines, [])
            if line.is_removed is distinct from 'true'
        ]
    ) as shipping_amount,
    money(coalesce(o.total_tip_received, '0')) as tip_amount,
    money(o.total_price_set.shop_money.amount) as total_amount,
    money(o.total_price_set.presentment_money.amount) as presentment_total_amount,
    money(o.current_total_price_set.shop_money.amount) as current_total_amount,
    coalesce(paid.received_amount, money('0')) as received_amount,
    coalesce(paid.refunded_amount, money('0')) as refunded_amount,
    o.shipping_address.city as shipping_city,
    o.shipping_address.province_code as shipping_province_code,
    o.shipping_address.zip as shipping_postal_code,
    country(o.shipping_address.country_code) as shipping_country_code,
    o.billing_address.zip as billing_postal_code,
    country(o.billing_address.country_code) as billing_country_code,
    lost(o.cancelled_at, cancelled_at)
    or lost(o.closed_at, closed_at)
    or lost(coalesce(o.customer.admin_graphql_api_id, o.customer.id), customer_id)
    or lost(o.company, company_id) as _suspect
from opened
left join paid on paid._line = opened._line
