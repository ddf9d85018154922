with
    listed as (
        select
            _line,
            id,
            "order".currency as currency_code,
            unnest("order".discount_applications) as applied,
            generate_subscripts("order".discount_applications, 1) as _ordinal
        from envelope
        where len("order".discount_applications) > 0
    )
select
    _line,
    _ordinal,
    gid(id, 'Order') as order_id,
    _ordinal - 1 as discount_index,
    case
        lower(applied.type)
        when 'discount_code'
        then 'DiscountCodeApplication'
        when 'manual'
        then 'ManualDiscountApplication'
        when 'automatic'
        then 'AutomaticDiscountApplication'
        when 'script'
        then 'ScriptDiscountApplication'
        else applied.type
    end as discount_type,
    case when lower(applied.type) = 'discount_code' then applied.code end as code,
    case when lower(applied.type) in ('manual', 'automatic') then applied.title end as title,
    upper(applied.allocation_method) as allocation_method,
    upper(applied.target_selection) as target_selection,
    upper(applied.target_type) as target_type,
    case
        lower(applied.value_type)
        when 'percentage'
        then 'PricingPercentageValue'
        when 'fixed_amount'
        then 'MoneyV2'
        else applied.value_type
    end as value_type,
    case when lower(applied.value_type) = 'fixed_amount' then money(applied.value) end as value_amount,
    case when lower(applied.value_type) = 'percentage' then ratio(applied.value) end as value_percentage,
    case when lower(applied.value_type) = 'fixed_amount' then currency(listed.currency_code) end as currency_code,
    lower(applied.value_type) in ('percentage', 'fixed_amount')
    and lost(applied.value, coalesce(cast(value_amount as varchar), cast(value_percentage as varchar))) as _suspect
from listed
