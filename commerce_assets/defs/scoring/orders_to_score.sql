select order_id, customer_id, ordered_at, net_amount, currency_code, is_cancelled, is_test
from marts.fct_order
