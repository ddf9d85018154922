with
    scores as (select * from {{ ref("customer_scores") }} where not is_deleted),

    customers as (
        select customer_id, customer_gid, lower(trim(email)) as email
        from {{ ref("dim_customer") }}
        where not is_deleted and is_email_subscribed and trim(email) <> ''
    )

select
    customers.customer_gid,
    customers.customer_id,
    customers.email,
    scores.rfm_segment,
    scores.lifecycle,
    scores.is_vip,
    scores.vip_tier,
    scores.churn_risk,
    scores.predicted_value_amount,
    scores.next_order_expected_on,
    scores.rfm_receipt_id,
    scores.value_receipt_id,
    scores.scored_at
from scores
inner join customers on customers.customer_id = scores.customer_id
-- Two customers of one address are one profile: it shows the one whose score is newest, then the newest customer.
qualify row_number() over (partition by customers.email order by scores.scored_at desc, customers.customer_id desc) = 1
