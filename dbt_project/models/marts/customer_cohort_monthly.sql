with
    orders as (
        select customer_id, order_id, currency_code, processed_at, sales_amount, net_amount, customer_order_number
        from {{ ref("fct_order") }}
        where is_reportable and order_kind = 'sale' and customer_id is not null
    ),

    -- A cohort is made by the month and the currency of the first order.
    cohorts as (
        select
            customer_id, cast({{ dbt.date_trunc("month", "processed_at") }} as date) as cohort_month_on, currency_code
        from orders
        where customer_order_number = 1
    ),

    sizes as (
        select cohort_month_on, currency_code, count(*) as cohort_customer_count
        from cohorts
        group by cohort_month_on, currency_code
    ),

    active as (
        select
            cohorts.cohort_month_on,
            cohorts.currency_code,
            {{ dbt.datediff("cohorts.cohort_month_on", "orders.processed_at", "month") }} as month_number,
            count(distinct orders.customer_id) as active_customer_count,
            count(*) as order_count,
            {{
                money(
                    "sum(case when orders.currency_code = cohorts.currency_code then orders.sales_amount else 0 end)"
                )
            }} as sales_amount,
            {{ money("sum(case when orders.currency_code = cohorts.currency_code then orders.net_amount else 0 end)") }}
            as net_amount
        from orders
        inner join cohorts on cohorts.customer_id = orders.customer_id
        group by 1, 2, 3
    )

select
    active.cohort_month_on,
    active.currency_code,
    cast(active.month_number as integer) as month_number,
    sizes.cohort_customer_count,
    active.active_customer_count,
    active.order_count,
    active.sales_amount,
    active.net_amount,
    cast(active.active_customer_count as double) / sizes.cohort_customer_count as retention_rate
from active
inner join sizes on sizes.cohort_month_on = active.cohort_month_on and sizes.currency_code = active.currency_code
