with
    rfm as (select * from {{ source("scores", "customer_rfm") }}),

    values_to_come as (select * from {{ source("scores", "customer_value") }}),

    customers as (select customer_id, is_deleted from {{ ref("dim_customer") }})

select
    -- ids
    rfm.customer_id,
    -- strings
    rfm.currency_code,
    rfm.rfm_segment,
    rfm.lifecycle,
    values_to_come.vip_tier,
    {{ churn_risk("values_to_come.churn_rate") }} as churn_risk,
    values_to_come.model_name,
    values_to_come.reasons,
    rfm.receipt_id as rfm_receipt_id,
    values_to_come.receipt_id as value_receipt_id,
    -- counts
    rfm.order_count,
    rfm.recency_days,
    cast(rfm.recency_score as integer) as recency_score,
    cast(rfm.frequency_score as integer) as frequency_score,
    cast(rfm.monetary_score as integer) as monetary_score,
    values_to_come.expected_order_count,
    values_to_come.average_gap_days,
    -- amounts
    rfm.monetary_amount,
    values_to_come.historic_value_amount,
    values_to_come.predicted_value_amount,
    values_to_come.predicted_value_low_amount,
    values_to_come.predicted_value_high_amount,
    values_to_come.total_value_amount,
    values_to_come.currency_code as value_currency_code,
    -- rates
    values_to_come.alive_rate,
    values_to_come.churn_rate,
    -- booleans
    rfm.is_vip,
    rfm.is_high_value_lapsed,
    coalesce(customers.is_deleted, true) as is_deleted,
    -- times
    values_to_come.next_order_expected_on,
    values_to_come.next_order_earliest_on,
    values_to_come.next_order_latest_on,
    rfm.as_of_on,
    values_to_come.as_of_on as value_as_of_on,
    rfm.scored_at at time zone 'UTC' as scored_at,
    values_to_come.valid_until at time zone 'UTC' as valid_until
from rfm
left join values_to_come on values_to_come.customer_id = rfm.customer_id
left join customers on customers.customer_id = rfm.customer_id
