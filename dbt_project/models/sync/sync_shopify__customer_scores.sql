with
    scores as (select * from {{ ref("customer_scores") }} where not is_deleted),

    customers as (select customer_id, customer_gid from {{ ref("dim_customer") }} where not is_deleted)

select
    customers.customer_gid,
    customers.customer_id,
    scores.rfm_segment,
    scores.lifecycle,
    scores.is_vip,
    {{ money("scores.monetary_amount") }} as monetary_value_amount,
    scores.currency_code,
    scores.vip_tier,
    scores.churn_risk,
    scores.predicted_value_amount,
    scores.next_order_expected_on,
    scores.as_of_on,
    scores.rfm_receipt_id,
    scores.value_receipt_id,
    {{ lifecycle_tags("scores") }} as lifecycle_tags,
    scores.scored_at
from scores
inner join customers on customers.customer_id = scores.customer_id
