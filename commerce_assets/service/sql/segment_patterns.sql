-- Customers by the segments they are in (a list of booleans, in the order asked for) and by currency: all that sizes
-- and overlaps need.
select
    members,
    currency_code,
    max(as_of_on) as as_of_on,
    count(*) as customers,
    sum(net_amount) as net_amount,
    sum(case when value_currency_code = currency_code then predicted_value_amount end) as predicted_value_amount,
    count(*) filter (where is_email_subscribed) as email_customers,
    count(*) filter (where is_sms_subscribed) as sms_customers,
    count(*) filter (where is_email_subscribed or is_sms_subscribed) as reachable_customers
from previewed
group by members, currency_code
order by members, currency_code
