{{ config(post_hook="{{ note_taken(['fct_order']) }}") }}

with refunds as (select * from {{ ref("int_refunds__with_lines") }}), orders as (select * from {{ ref("fct_order") }})

select
    -- ids
    refunds.refund_id,
    refunds.order_id,
    orders.customer_id,
    -- strings
    orders.order_kind,
    refunds.note,
    refunds.currency_code,
    -- counts
    cast(refunds.line_count as bigint) as line_count,
    cast(refunds.returned_quantity as bigint) as returned_quantity,
    cast(refunds.restocked_quantity as bigint) as restocked_quantity,
    {{ dbt.datediff("orders.processed_at", "refunds.processed_at", "day") }} as days_after_order_count,
    -- amounts
    refunds.returned_amount,
    refunds.returned_gift_card_amount,
    refunds.returned_tax_amount,
    {{
        money(
            "refunds.refunded_amount - refunds.returned_amount"
            ~ " - refunds.returned_gift_card_amount - refunds.returned_tax_amount"
        )
    }} as other_refunded_amount,
    refunds.refunded_amount,
    -- booleans
    orders.is_test,
    orders.is_cancelled,
    orders.is_deleted,
    orders.is_reportable,
    -- times
    cast(refunds.processed_at as date) as refunded_on,
    orders.ordered_on,
    refunds.processed_at,
    refunds.created_at,
    -- where it came from
    refunds._source_file,
    refunds._line,
    refunds._loaded_at
from refunds
inner join orders on orders.order_id = refunds.order_id
