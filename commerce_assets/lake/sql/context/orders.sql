-- Orders all of whose lines were accepted, beside the sums of those lines. A sum that is too large is none, and
-- refused.
with
    incomplete as (
        -- A broken line of a kind that could not be told is filed under orders, without a row's id.
        select root_id
        from quarantined
        where
            root_id is not null
            and (table_name in ('order_lines', 'shipping_lines') or (table_name = 'orders' and row_id is null))
    ),
    line_sums as (
        select order_id, sum(gross_amount) as gross_amount, count(*) as line_count from staged.order_lines group by all
    ),
    shipping_sums as (
        select order_id, sum(gross_amount - net_amount) as discount_amount, count(*) as line_count
        from staged.shipping_lines
        group by all
    )
select
    orders.order_id,
    orders.total_amount,
    orders.discount_amount,
    orders.tax_amount,
    orders.is_taxes_included,
    orders.shipping_amount,
    orders.tip_amount,
    try_cast(coalesce(line_sums.gross_amount, 0) as decimal(18, 4)) as lines_gross_amount,
    try_cast(coalesce(shipping_sums.discount_amount, 0) as decimal(18, 4)) as shipping_discount_amount,
    coalesce(line_sums.line_count, 0) + coalesce(shipping_sums.line_count, 0) as line_count
from staged.orders
left join line_sums using (order_id)
left join shipping_sums using (order_id)
where not exists (select 1 from incomplete where incomplete.root_id = orders.order_id)
