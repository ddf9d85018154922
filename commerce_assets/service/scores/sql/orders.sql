-- What customers are scored from: every order of the mart, with what says whether it is a sale. A deleted order
-- counts as a cancelled
-- one.
select
    order_id,
    customer_id,
    ordered_on,
    net_amount,
    currency_code,
    is_cancelled or is_deleted as is_cancelled,
    is_test,
    _loaded_at as loaded_at
from marts.fct_order
