select
    _line,
    1 as _ordinal,
    gid(__parentId, 'Order') as order_id,
    whole("index") as discount_index,
    __typename as discount_type,
    code,
    title,
    allocationMethod as allocation_method,
    targetSelection as target_selection,
    targetType as target_type,
    coalesce(
        "value".__typename, case when "value".percentage is null then 'MoneyV2' else 'PricingPercentageValue' end
    ) as value_type,
    money("value".amount) as value_amount,
    ratio("value".percentage) as value_percentage,
    currency("value".currencyCode) as currency_code,
    lost("value".amount, value_amount) or lost("value".percentage, value_percentage) as _suspect
from discount_application
