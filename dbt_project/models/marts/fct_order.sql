{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="{{ forget_changed_orders() }}",
        post_hook="{{ note_taken() }}",
    )
}}

with
    orders as (select * from {{ ref("stg_storefront__orders") }} where {{ is_changed() }}),

    states as (select * from {{ ref("int_orders__states") }} where {{ is_changed() }}),

    refunds as (select * from {{ ref("int_orders__with_refunds") }} where {{ is_changed() }}),

    lines as (
        select
            order_id,
            count(*) as line_count,
            sum(quantity) as unit_count,
            {{ money("sum(gross_amount)") }} as gross_amount,
            {{ money("sum(discount_amount)") }} as discount_amount,
            {{ money("sum(sales_amount)") }} as sales_amount,
            {{ money("sum(gift_card_amount)") }} as gift_card_amount
        from {{ ref("int_order_lines__enriched") }}
        where {{ is_changed() }}
        group by order_id
    ),

    shipping as (
        select order_id, {{ money("sum(tax_amount)") }} as tax_amount
        from {{ ref("stg_storefront__shipping_lines") }}
        where {{ is_changed() }}
        group by order_id
    ),

    shipments as (
        select
            order_id,
            count(*) as shipment_count,
            min(created_at) as first_shipped_at,
            max(delivered_at) as last_delivered_at
        from {{ ref("stg_storefront__fulfillments") }}
        where status = 'success' and {{ is_changed() }}
        group by order_id
    ),

    -- What an order gives and takes, once; the columns below only combine it.
    amounts as (
        select
            orders.order_id,
            coalesce(lines.line_count, 0) as line_count,
            coalesce(lines.unit_count, 0) as unit_count,
            coalesce(lines.gross_amount, 0) as gross_amount,
            coalesce(lines.discount_amount, 0) as discount_amount,
            coalesce(lines.sales_amount, 0) as sales_amount,
            coalesce(lines.gift_card_amount, 0) as gift_card_amount,
            orders.shipping_amount
            - case when orders.is_taxes_included then coalesce(shipping.tax_amount, 0) else 0 end as shipping_amount,
            coalesce(shipments.shipment_count, 0) as shipment_count,
            shipments.first_shipped_at,
            shipments.last_delivered_at
        from orders
        left join lines on lines.order_id = orders.order_id
        left join shipping on shipping.order_id = orders.order_id
        left join shipments on shipments.order_id = orders.order_id
    )

select
    -- ids
    orders.order_id,
    orders.order_gid,
    orders.order_name,
    orders.customer_id,
    orders.company_id,
    -- strings
    states.order_kind,
    orders.source_name,
    orders.tags,
    orders.company_name,
    orders.currency_code,
    orders.presentment_currency_code,
    orders.financial_status,
    orders.fulfillment_status,
    orders.cancel_reason,
    orders.shipping_province_code,
    orders.shipping_country_code,
    orders.billing_country_code,
    -- counts
    states.customer_order_number,
    cast(amounts.line_count as bigint) as line_count,
    cast(amounts.unit_count as bigint) as unit_count,
    cast(refunds.refund_count as bigint) as refund_count,
    cast(amounts.shipment_count as bigint) as shipment_count,
    -- amounts
    {{ money("amounts.gross_amount") }} as gross_amount,
    {{ money("amounts.discount_amount") }} as discount_amount,
    {{ money("amounts.sales_amount") }} as sales_amount,
    refunds.returned_amount,
    {{ money("amounts.sales_amount - refunds.returned_amount") }} as net_amount,
    {{ money("amounts.gift_card_amount") }} as gift_card_amount,
    orders.tax_amount,
    refunds.returned_tax_amount,
    {{ money("amounts.shipping_amount") }} as shipping_amount,
    orders.tip_amount,
    orders.total_amount,
    orders.presentment_total_amount,
    orders.received_amount,
    refunds.refunded_amount,
    -- booleans
    orders.is_test,
    orders.cancelled_at is not null as is_cancelled,
    orders.is_deleted,
    states.is_reportable,
    orders.customer_id is null as is_guest,
    orders.company_id is not null as is_b2b,
    coalesce(states.customer_order_number = 1, false) as is_first_order,
    orders.is_taxes_included,
    -- times
    cast(orders.processed_at as date) as ordered_on,
    orders.processed_at,
    orders.created_at,
    orders.updated_at,
    orders.cancelled_at,
    orders.closed_at,
    amounts.first_shipped_at,
    amounts.last_delivered_at,
    refunds.first_refunded_at,
    refunds.last_refunded_at,
    orders.deletion_seen_at,
    -- where it came from
    orders._source_file,
    orders._line,
    orders._loaded_at,
    states.document_version as _document_version
from orders
inner join states on states.order_id = orders.order_id
inner join refunds on refunds.order_id = orders.order_id
inner join amounts on amounts.order_id = orders.order_id
