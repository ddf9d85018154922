-- Made from segments.yml by `commerce segment build`: change that file, not this one.
-- fmt: off
-- Customers with all that is known of them and the day they are judged by; `c` and `s` are what conditions name.
with
    c as (select * from {{ ref("customer_360") }} where not is_deleted),

    s as (select * from {{ ref("customer_scores") }} where not is_deleted),

    customers as (select customer_id, customer_gid from {{ ref("dim_customer") }} where not is_deleted),

    as_of as (select coalesce(max(s.as_of_on), (select max(c.last_ordered_on) from c)) as as_of_on from s)

select
    c.customer_id,
    customers.customer_gid,
    'high_return_rate' as segment_name,
    as_of.as_of_on
from c
inner join customers on customers.customer_id = c.customer_id
inner join as_of on as_of.as_of_on is not null
left join s on s.customer_id = c.customer_id
where
    c.order_count >= 3
    and (c.refunded_order_rate >= 0.3 or c.returned_amount_rate >= 0.25)
