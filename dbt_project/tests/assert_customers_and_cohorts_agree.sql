-- Every customer with orders is in exactly one cohort, and the cohorts hold all their orders.
with
    customers as (
        select count(*) as customer_count, coalesce(sum(order_count), 0) as order_count
        from
            (
                select customer_id, count(*) as order_count
                from {{ ref("fct_order") }}
                where is_reportable and order_kind = 'sale' and customer_id is not null
                group by customer_id
            ) as buyers
    ),

    cohorts as (
        select
            coalesce(sum(case when month_number = 0 then cohort_customer_count else 0 end), 0) as customer_count,
            coalesce(sum(order_count), 0) as order_count
        from {{ ref("customer_cohort_monthly") }}
    )

select *
from customers
cross join cohorts
where customers.customer_count <> cohorts.customer_count or customers.order_count <> cohorts.order_count
