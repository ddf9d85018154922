with
    refunds as (select * from {{ ref("stg_storefront__refunds") }}),

    lines as (
        select refund_lines.*, coalesce(order_lines.is_gift_card, false) as is_gift_card
        from {{ ref("stg_storefront__refund_lines") }} as refund_lines
        left join
            {{ ref("stg_storefront__order_lines") }} as order_lines
            on order_lines.order_line_id = refund_lines.order_line_id
    ),

    returned as (
        select
            refund_id,
            count(*) as line_count,
            sum(quantity) as returned_quantity,
            sum(case when is_restocked then quantity else 0 end) as restocked_quantity,
            {{ money("sum(case when is_gift_card then 0 else subtotal_amount end)") }} as returned_amount,
            {{ money("sum(case when is_gift_card then subtotal_amount else 0 end)") }} as returned_gift_card_amount,
            {{ money("sum(tax_amount)") }} as returned_tax_amount
        from lines
        group by refund_id
    )

select
    refunds.refund_id,
    refunds.order_id,
    refunds.currency_code,
    refunds.note,
    coalesce(returned.line_count, 0) as line_count,
    coalesce(returned.returned_quantity, 0) as returned_quantity,
    coalesce(returned.restocked_quantity, 0) as restocked_quantity,
    {{ money("coalesce(returned.returned_amount, 0)") }} as returned_amount,
    {{ money("coalesce(returned.returned_gift_card_amount, 0)") }} as returned_gift_card_amount,
    {{ money("coalesce(returned.returned_tax_amount, 0)") }} as returned_tax_amount,
    refunds.refunded_amount,
    refunds.processed_at,
    refunds.created_at,
    refunds._source_file,
    refunds._line,
    refunds._loaded_at
from refunds
left join returned on returned.refund_id = refunds.refund_id
