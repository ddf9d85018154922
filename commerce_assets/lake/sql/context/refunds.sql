-- Refunds beside their order. A refund may take what was received less what earlier refunds that fitted took.
with recursive
    in_turn as (
        select
            refunds.refund_id,
            refunds.order_id,
            refunds.processed_at,
            refunds.refunded_amount,
            orders.processed_at as order_processed_at,
            orders.received_amount,
            row_number() over (partition by refunds.order_id order by refunds.processed_at, refunds.refund_id) as turn
        from staged.refunds
        inner join staged.orders using (order_id)
    ),
    taken as (
        select refund_id, order_id, turn, refunded_amount, received_amount as refundable_amount
        from in_turn
        where turn = 1
        union all
        select
            in_turn.refund_id,
            in_turn.order_id,
            in_turn.turn,
            in_turn.refunded_amount,
            cast(
                taken.refundable_amount - case
                    when taken.refunded_amount <= taken.refundable_amount + 0.01 then taken.refunded_amount else 0
                end as decimal(18, 4)
            ) as refundable_amount
        from taken
        inner join in_turn on in_turn.order_id = taken.order_id and in_turn.turn = taken.turn + 1
    )
select
    in_turn.refund_id,
    in_turn.order_id,
    in_turn.processed_at,
    in_turn.refunded_amount,
    in_turn.order_processed_at,
    taken.refundable_amount
from in_turn
inner join taken using (refund_id)
