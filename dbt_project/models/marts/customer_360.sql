{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        pre_hook="{{ forget_changed_customers() }}",
        post_hook="{{ note_taken(['fct_order', 'fct_order_line', 'fct_refund']) }}",
    )
}}

with
    customers as (select * from {{ ref("dim_customer") }} where {{ is_changed_customer() }}),

    orders as (select * from {{ ref("fct_order") }} where customer_id is not null and {{ is_changed_customer() }}),

    counted as (select * from orders where is_reportable and order_kind = 'sale'),

    -- Amounts of different currencies do not add up: a customer's are in the currency of the latest order.
    latest as (
        select customer_id, order_id, currency_code
        from counted
        qualify row_number() over (partition by customer_id order by customer_order_number desc) = 1
    ),

    facts as (
        select
            counted.customer_id,
            latest.currency_code,
            latest.order_id as last_order_id,
            min(counted.processed_at) as first_ordered_at,
            max(counted.processed_at) as last_ordered_at,
            count(*) as order_count,
            sum(
                case when counted.currency_code <> latest.currency_code then 1 else 0 end
            ) as other_currency_order_count,
            sum(counted.unit_count) as unit_count,
            sum(case when counted.refund_count > 0 then 1 else 0 end) as refunded_order_count,
            sum(case when counted.discount_amount > 0 then 1 else 0 end) as discounted_order_count,
            {% for amount in ["gross_amount", "discount_amount", "returned_amount", "net_amount", "refunded_amount"] %}
                {{
                    money(
                        "sum(case when counted.currency_code = latest.currency_code then counted."
                        ~ amount
                        ~ " else 0 end)"
                    )
                }} as {{ amount }},
            {% endfor %}
            max(case when counted.is_b2b then 1 else 0 end) = 1 as is_b2b
        from counted
        inner join latest on latest.customer_id = counted.customer_id
        group by counted.customer_id, latest.currency_code, latest.order_id
    ),

    uncounted as (
        select customer_id, count(*) as cancelled_order_count
        from orders
        where is_cancelled and not is_test and not is_deleted
        group by customer_id
    ),

    credits as (
        select customer_id, currency_code, {{ money("sum(refunded_amount - returned_tax_amount)") }} as credit_amount
        from {{ ref("fct_refund") }}
        where customer_id is not null and is_reportable and order_kind = 'credit' and {{ is_changed_customer() }}
        group by customer_id, currency_code
    ),

    products as (
        select customer_id, count(distinct product_id) as distinct_product_count
        from {{ ref("fct_order_line") }}
        where customer_id is not null and is_reportable and order_kind = 'sale' and {{ is_changed_customer() }}
        group by customer_id
    )

select
    -- ids
    customers.customer_id,
    facts.last_order_id,
    -- strings
    customers.country_code,
    coalesce(facts.currency_code, customers.currency_code) as currency_code,
    -- counts
    cast(coalesce(facts.order_count, 0) as bigint) as order_count,
    cast(coalesce(facts.other_currency_order_count, 0) as bigint) as other_currency_order_count,
    cast(coalesce(uncounted.cancelled_order_count, 0) as bigint) as cancelled_order_count,
    cast(coalesce(facts.refunded_order_count, 0) as bigint) as refunded_order_count,
    cast(coalesce(facts.discounted_order_count, 0) as bigint) as discounted_order_count,
    cast(coalesce(facts.unit_count, 0) as bigint) as unit_count,
    cast(coalesce(products.distinct_product_count, 0) as bigint) as distinct_product_count,
    -- amounts
    {% for amount in ["gross_amount", "discount_amount", "returned_amount", "net_amount", "refunded_amount"] %}
        {{ money("coalesce(facts." ~ amount ~ ", 0)") }} as {{ amount }},
    {% endfor %}
    {{ money("coalesce(credits.credit_amount, 0)") }} as credit_amount,
    {{ money("facts.net_amount / nullif(facts.order_count - facts.other_currency_order_count, 0)") }}
    as average_order_amount,
    -- rates
    cast(facts.refunded_order_count as double) / nullif(facts.order_count, 0) as refunded_order_rate,
    cast(facts.discounted_order_count as double) / nullif(facts.order_count, 0) as discounted_order_rate,
    cast(facts.returned_amount as double)
    / nullif(cast(facts.gross_amount - facts.discount_amount as double), 0) as returned_amount_rate,
    -- booleans
    customers.is_email_subscribed,
    customers.is_sms_subscribed,
    coalesce(facts.is_b2b, false) as is_b2b,
    coalesce(facts.order_count, 0) > 1 as is_repeat_customer,
    customers.is_deleted,
    -- times
    cast(facts.first_ordered_at as date) as first_ordered_on,
    cast(facts.last_ordered_at as date) as last_ordered_on,
    facts.first_ordered_at,
    facts.last_ordered_at,
    case
        when facts.order_count > 1
        then
            cast({{ dbt.datediff("facts.first_ordered_at", "facts.last_ordered_at", "day") }} as double)
            / (facts.order_count - 1)
    end as average_days_between_orders,
    customers.created_at
from customers
left join facts on facts.customer_id = customers.customer_id
left join uncounted on uncounted.customer_id = customers.customer_id
left join
    credits
    on credits.customer_id = customers.customer_id
    and credits.currency_code = coalesce(facts.currency_code, customers.currency_code)
left join products on products.customer_id = customers.customer_id
