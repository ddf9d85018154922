{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="{{ forget_changed_orders() }}",
        post_hook="{{ note_taken() }}",
    )
}}

with
    lines as (select * from {{ ref("int_order_lines__enriched") }} where {{ is_changed() }}),

    states as (select * from {{ ref("int_orders__states") }} where {{ is_changed() }}),

    shipped as (
        select fulfillment_lines.order_line_id, sum(fulfillment_lines.quantity) as shipped_quantity
        from {{ ref("stg_storefront__fulfillment_lines") }} as fulfillment_lines
        inner join
            {{ ref("stg_storefront__fulfillments") }} as fulfillments
            on fulfillments.fulfillment_id = fulfillment_lines.fulfillment_id
        where fulfillments.status = 'success' and {{ is_changed("fulfillment_lines.order_id") }}
        group by fulfillment_lines.order_line_id
    )

select
    -- ids
    lines.order_line_id,
    lines.order_id,
    lines.customer_id,
    lines.product_id,
    lines.variant_id,
    -- strings
    states.order_kind,
    lines.sku,
    lines.title,
    lines.variant_title,
    lines.vendor,
    lines.currency_code,
    -- counts
    lines.quantity,
    lines.current_quantity,
    cast(lines.returned_quantity as bigint) as returned_quantity,
    cast(coalesce(shipped.shipped_quantity, 0) as bigint) as shipped_quantity,
    -- amounts
    lines.unit_price_amount,
    lines.gross_amount,
    lines.discount_amount,
    lines.sales_amount,
    lines.returned_amount,
    {{ money("lines.sales_amount - lines.returned_amount") }} as net_amount,
    lines.gift_card_amount,
    lines.returned_gift_card_amount,
    lines.tax_amount,
    lines.returned_tax_amount,
    -- booleans
    lines.is_gift_card,
    lines.is_shippable,
    lines.is_taxable,
    lines.is_deleted,
    states.is_reportable,
    -- times
    cast(lines.processed_at as date) as ordered_on,
    lines.processed_at,
    -- where it came from
    lines._source_file,
    lines._line,
    lines._loaded_at,
    states.document_version as _document_version
from lines
inner join states on states.order_id = lines.order_id
left join shipped on shipped.order_line_id = lines.order_line_id
